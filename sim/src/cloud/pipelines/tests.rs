use super::*;

#[test]
fn what_no_filter_takes_is_listed_once_with_a_count() {
    let mut pipelines = Pipelines::default();
    for (kind, at) in [("application/cbor", 2), ("application/cbor", 3), ("application/json", 4)] {
        pipelines.note_unmatched("gw", "/b", kind, at);
    }
    let listed: Vec<_> =
        pipelines.unmatched.iter().map(|u| (u.content_type.as_str(), u.count, u.unix_ns)).collect();
    assert_eq!(listed, [("application/cbor", 2, 3), ("application/json", 1, 4)]);
}

#[test]
fn a_route_may_ask_for_one_content_format() {
    let route = Route { content_format: Some(60), ..Route::path("/a") };
    let pipelines = Pipelines::new(&[route]);
    let takes = |kind| pipelines.all[0].filter.takes("/a", kind);
    assert!(takes("application/cbor") && !takes("application/json") && !takes("text/plain"));
}

#[test]
fn what_a_route_is_said_to_do_can_be_read_as_a_pipeline() {
    let pipelines =
        Pipelines::new(&[Route::everything(), Route { content_format: Some(50), ..Route::path("/a") }]);
    for pipeline in &pipelines.all {
        let (filter, steps) = read(&pipeline.yaml).unwrap();
        assert_eq!((filter, steps.len()), (pipeline.filter.clone(), 3), "{}", pipeline.yaml);
    }
}

#[test]
fn new_routes_leave_pipelines_with_steps_alone() {
    let mut pipelines = Pipelines::new(&[Route::everything()]);
    let (filter, steps) = read("steps:\n  - destination:\n      type: logs\n").unwrap();
    let own = Pipeline {
        id: "own".to_owned(),
        name: "own".to_owned(),
        enabled: true,
        yaml: String::new(),
        filter,
        steps: Some(steps.into()),
        created_ns: 0,
        updated_ns: 0,
    };
    pipelines.put(own).unwrap();
    pipelines.set_routes(&[Route::path("/a"), Route::path("/b")]);
    let names: Vec<_> = pipelines.all.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(names, ["route 0", "route 1", "own"]);
}
