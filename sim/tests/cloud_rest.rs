//! The management API of the simulated cloud, by plain HTTP requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod cloud_common;

use cloud_common::live::{Live, until};
use cloud_common::{config, hex};
use fieldgate_sim::cloud::Route;
use serde_json::{Value, json};

const P: &str = "/v1/projects/plant";
const OP: &str = "/v1/organizations/acme/projects/plant";

async fn id_of(live: &Live, name: &str) -> String {
    let (status, found) = live.get(&format!("{P}/devices?deviceName={name}")).await;
    assert_eq!((status, &found["total"]), (200, &json!(1)), "{found}");
    found["list"][0]["id"].as_str().unwrap().to_owned()
}

/// Nine digits and a Z.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2026-01-02T03:04:05.006000000Z".len()
        && text.starts_with("2026-01-02T")
        && text.ends_with('Z')
}

#[tokio::test]
async fn only_the_projects_key_opens_the_api() {
    let live = Live::start().await;
    for headers in
        ["", "x-api-key: management-kez\r\n", "x-api-key: management\r\n", "authorization: bearer x\r\n"]
    {
        let (status, error) = live.request_with("GET", &format!("{P}/devices"), None, headers).await;
        assert_eq!((status, &error["code"]), (401, &json!(16)), "{headers}");
        assert!(error["message"].is_string() && error["details"] == json!([]), "{error}");
    }
    assert_eq!(live.get(&format!("{P}/devices")).await.0, 200);
    for bearer in ["authorization: bearer management-key\r\n", "Authorization: Bearer management-key\r\n"] {
        assert_eq!(live.request_with("GET", &format!("{P}/devices"), None, bearer).await.0, 200, "{bearer}");
    }
    live.stop().await;
}

#[tokio::test]
async fn devices_are_listed_in_pages_and_found_by_their_exact_name() {
    let live = Live::start().await;
    for number in 0..3 {
        let (status, created) =
            live.post(&format!("{P}/devices"), json!({"name": format!("gw-{number}")})).await;
        assert_eq!(status, 200);
        let id = created["data"]["id"].as_str().unwrap();
        assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(created["data"]["hardwareIds"], json!([id]), "a hardware id is made where none is given");
    }
    let names = |page: &Value| -> Vec<String> {
        page["list"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = live.get(&format!("{P}/devices")).await;
    assert_eq!((&all["page"], &all["perPage"], &all["total"]), (&json!(0), &json!(100), &json!(5)));
    assert_eq!(names(&all), ["gw", "other", "gw-0", "gw-1", "gw-2"]);
    let (_, second) = live.get(&format!("{P}/devices?page=1&perPage=2")).await;
    assert_eq!((names(&second), &second["total"]), (vec!["gw-0".to_owned(), "gw-1".to_owned()], &json!(5)));
    let (_, none) = live.get(&format!("{P}/devices?page=9&perPage=2")).await;
    assert_eq!((names(&none).len(), &none["total"]), (0, &json!(5)));
    for wrong in ["perPage=101", "perPage=-1", "page=x"] {
        assert_eq!(live.get(&format!("{P}/devices?{wrong}")).await.0, 400, "{wrong}");
    }
    assert_eq!(live.get(&format!("{P}/devices/?perPage=0")).await.1["perPage"], 100);
    let (_, exact) = live.get(&format!("{P}/devices?deviceName=gw-1")).await;
    assert_eq!(names(&exact), ["gw-1"]);
    let (_, part) = live.get(&format!("{P}/devices?deviceName=gw-")).await;
    assert_eq!(names(&part).len(), 0, "deviceName is exact");
    let (_, term) = live.get(&format!("{P}/devices?term=w-")).await;
    assert_eq!(names(&term).len(), 3);
    let (status, error) = live.post(&format!("{P}/devices"), json!({"name": "gw"})).await;
    assert_eq!((status, &error["code"]), (409, &json!(6)));
    live.stop().await;
}

#[tokio::test]
async fn a_device_shows_when_it_connected_and_when_it_last_reported() {
    let live = Live::start().await;
    let path = format!("{P}/devices/{}", id_of(&live, "gw").await);
    let (_, before) = live.get(&path).await;
    assert!(is_time(&before["data"]["createdAt"]), "{before}");
    assert!(before["data"]["metadata"].get("lastReport").is_none(), "absent, not null: {before}");
    assert!(before["data"].get("cohortId").is_none());
    live.coap("hello", &["-m", "get"]).await.unwrap();
    let (status, after) = live.get(&path).await;
    let metadata = &after["data"]["metadata"];
    assert_eq!((status, &metadata["status"]), (200, &json!("-")));
    assert!(is_time(&metadata["lastReport"]) && is_time(&metadata["lastSeenOnline"]), "{after}");
    assert_eq!(after["data"]["lastReport"], metadata["lastReport"]);
    assert_eq!(metadata["lastSettingsStatus"]["status"], "no-settings");
    live.stop().await;
}

#[tokio::test]
async fn ids_that_are_none_and_things_that_are_not_there_are_refused_in_the_real_words() {
    let live = Live::start().await;
    let (status, error) = live.get(&format!("{P}/devices/gw")).await;
    assert_eq!((status, &error["code"]), (400, &json!(3)));
    assert!(error["message"].as_str().unwrap().contains("hex string is not a valid ObjectID"), "{error}");
    for (path, what) in [
        (format!("{P}/devices/{}", "0".repeat(24)), "device not found"),
        (format!("{OP}/cohorts/{}", "0".repeat(24)), "cohort not found"),
        (format!("{OP}/packages/main"), "package not found"),
        ("/v1/projects/another".to_owned(), "project not found"),
        ("/v1/projects/another/devices".to_owned(), "project not found"),
        ("/v1/projects/another/logs".to_owned(), "project not found"),
        ("/v1/organizations/acme/projects/another/cohorts".to_owned(), "project not found"),
    ] {
        let (status, error) = live.get(&path).await;
        assert_eq!((status, &error["code"], &error["message"]), (404, &json!(5), &json!(what)));
    }
    let device = Some(json!({"name": "stray"}));
    assert_eq!(live.request("POST", "/v1/projects/another/devices", device).await.0, 404);
    let (_, devices) = live.get(&format!("{P}/devices?deviceName=stray")).await;
    assert_eq!(devices["total"], 0, "what another project was told is done in none");
    let (status, error) = live.get(&format!("{P}/integrations")).await;
    assert_eq!((status, &error["code"]), (501, &json!(12)), "a real route that is not built");
    assert_eq!(live.request("PUT", &format!("{P}/logs"), None).await.0, 501);
    let (status, error) = live.get("/elsewhere").await;
    assert_eq!((status, &error["code"]), (404, &json!(5)));
    live.stop().await;
}

#[tokio::test]
async fn a_credential_made_over_the_api_connects_and_a_deleted_one_does_not() {
    let live = Live::start().await;
    let path = format!("{P}/devices/{}/credentials", id_of(&live, "other").await);
    let new = json!({"type": "PRE_SHARED_KEY", "identity": "spare", "preSharedKey": "another-key"});
    let (_, created) = live.post(&path, new).await;
    assert_eq!(created["data"]["identity"], "spare@plant", "the project is appended");
    let (_, all) = live.get(&path).await;
    let listed: Vec<_> = all["list"].as_array().unwrap().iter().map(|c| &c["preSharedKey"]).collect();
    assert_eq!(listed, [cloud_common::KEY, "another-key"]);
    let spare = ["-u", "spare@plant", "-k", "another-key", "-B", "3"];
    assert_eq!(live.coap("hello", &spare).await.unwrap(), b"Hello other");
    let one = format!("{path}/{}", created["data"]["id"].as_str().unwrap());
    assert_eq!(live.request("DELETE", &one, None).await, (200, json!({})));
    let refused = live.coap("hello", &spare).await;
    assert_ne!(refused, Ok(b"Hello other".to_vec()));
    assert_eq!(live.handle.read(|cloud| cloud.counters().handshakes), 1);
    live.stop().await;
}

#[tokio::test]
async fn state_is_written_over_the_api_and_read_by_the_device_and_back() {
    let live = Live::start().await;
    let data = format!("{P}/devices/{}/data", id_of(&live, "gw").await);
    assert_eq!(live.get(&format!("{data}/desired/led")).await, (200, json!({"data": null})));
    assert_eq!(live.post(&format!("{data}{}", "/a".repeat(65)), json!(1)).await.0, 400);
    live.post(&format!("{data}/desired"), json!({"led": 1, "rate": 2.5})).await;
    live.request("PATCH", &format!("{data}/desired"), Some(json!({"led": 2}))).await;
    assert_eq!(live.coap(".d/desired", &["-A", "50"]).await.unwrap(), br#"{"led":2,"rate":2.5}"#);
    live.request("PUT", &format!("{data}/desired"), Some(json!({"led": 3}))).await;
    let merged = json!({"data": {"desired": {"led": 3, "rate": 2.5}}});
    assert_eq!(live.get(&data).await, (200, merged), "PUT merges as well");
    for gone in ["led", "rate"] {
        assert_eq!(live.request("DELETE", &format!("{data}/desired/{gone}"), None).await, (200, json!({})));
    }
    assert_eq!(live.coap(".d/desired", &["-A", "50"]).await.unwrap(), b"{}");
    let (_, listed) = live.get(&format!("{P}/devices?deviceName=gw&statePath=desired")).await;
    assert_eq!(listed["list"][0]["data"], json!({}));
    live.stop().await;
}

#[tokio::test]
async fn stream_rows_are_split_timed_and_filtered() {
    let live = Live::start().await;
    let id = id_of(&live, "gw").await;
    let batch =
        r#"[{"t":1700000000000,"temp":20},{"ts":"2023-11-14T22:13:21Z","temp":21},{"temp":22,"x":{"y":1}}]"#;
    live.coap(".s/sensor", &["-m", "post", "-t", "50", "-e", batch]).await.unwrap();
    let (status, all) = live.get(&format!("{P}/devices/{id}/stream")).await;
    let temps: Vec<_> =
        all["list"].as_array().unwrap().iter().map(|row| &row["data"]["sensor"]["temp"]).collect();
    assert_eq!((status, temps), (200, vec![&json!(22), &json!(21), &json!(20)]), "newest first");
    assert_eq!(
        all["list"][2],
        json!({
            "time": "2023-11-14T22:13:20+00:00", "deviceId": id, "data": {"sensor": {"temp": 20}}
        })
    );
    let query = json!({
        "fields": [{"path": "time"}, {"path": "sensor.x.y", "alias": "y"}],
        "filters": [{"op": "or", "filters": [
            {"path": "sensor.temp", "op": "<", "value": 20}, {"path": "sensor.temp", "op": "=", "value": [22, 23]}
        ]}],
    });
    let body = json!({"encodedQuery": query.to_string(), "page": 0, "perPage": 10});
    let (_, found) = live.post(&format!("{P}/devices/{id}/stream"), body).await;
    assert_eq!((&found["total"], &found["list"][0]["y"]), (&json!(1), &json!(1)));
    let arrival = found["list"][0]["time"].as_str().unwrap();
    let as_rows_have_it = arrival.starts_with("2026-01-02T03:04:0") && arrival.ends_with("+00:00");
    assert!(as_rows_have_it, "the arrival, where the payload has no time: {found}");
    let window = "start=2023-11-14T22:13:20.5Z&end=2023-11-14T22:13:21Z";
    let (_, found) = live.get(&format!("{P}/stream?{window}&deviceId={id}")).await;
    assert_eq!((&found["total"], &found["list"][0]["data"]["sensor"]["temp"]), (&json!(1), &json!(21)));
    assert_eq!(live.get(&format!("{P}/stream?start=yesterday")).await.0, 400);
    let query = json!({
        "fields": [{"path": "time"}, {"path": "sensor.temp", "agg": "max", "alias": "most", "type": "float"}, {"path": "*", "agg": "count", "alias": "n"}],
        "timeBucket": "1m"
    });
    let (_, buckets) =
        live.post(&format!("{P}/devices/{id}/stream"), json!({"encodedQuery": query.to_string()})).await;
    assert_eq!(
        (&buckets["total"], &buckets["list"][1]),
        (&json!(2), &json!({"time": "2023-11-14T22:13:00+00:00", "most": 21.0, "n": 2})),
        "one row a minute, its beginning as its time: {buckets}"
    );
    let recent = json!({"interval": "8h"});
    let (_, recent) = live.post(&format!("{P}/devices/{id}/stream"), recent).await;
    assert_eq!((&recent["total"], &recent["list"][0]["data"]["sensor"]["temp"]), (&json!(1), &json!(22)));
    let (_, newest) = live.get(&format!("{P}/devices?deviceName=gw&streamPath=sensor/temp")).await;
    assert_eq!(newest["list"][0]["data"], json!(22));
    let without = json!({"filters": [{"path": "sensor.temp", "op": "<>", "value": [20, 22]}, {"path": "sensor.temp", "op": ">", "value": "20.5"}]});
    let body = json!({"encodedQuery": without.to_string()});
    let (_, left) = live.post(&format!("{P}/devices/{id}/stream"), body).await;
    assert_eq!((&left["total"], &left["list"][0]["data"]["sensor"]["temp"]), (&json!(1), &json!(21)));
    for wrong in [r#"{"timeBucket":"soon"}"#, r#"{"fields":[{"path":"a","agg":"median"}]}"#] {
        let body = json!({"encodedQuery": wrong});
        assert_eq!(live.post(&format!("{P}/devices/{id}/stream"), body).await.0, 400, "{wrong}");
    }
    live.stop().await;
}

#[tokio::test]
async fn logs_are_listed_newest_first_and_filtered() {
    let live = Live::start().await;
    let id = id_of(&live, "gw").await;
    for (level, module) in [("info", "net"), ("warn", "net"), ("warn", "app")] {
        let body =
            format!(r#"{{"level":"{level}","module":"{module}","msg":"{level} of {module}","uptime":5}}"#);
        live.coap("logs", &["-m", "post", "-t", "50", "-e", &body]).await.unwrap();
    }
    let messages = |page: &Value| -> Vec<String> {
        page["list"].as_array().unwrap().iter().map(|l| l["message"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = live.get(&format!("{P}/logs?deviceId={id}")).await;
    assert_eq!(messages(&all), ["warn of app", "warn of net", "info of net"]);
    let first = &all["list"][0];
    assert_eq!(
        (&first["level"], &first["deviceId"], &first["metadata"]),
        (&json!("WARN"), &json!(id), &json!({"uptime": 5}))
    );
    assert_eq!((&first["device_id"], &first["type"]), (&json!(id), &json!("LOGGING")), "either name");
    assert!(is_time(&first["timestamp"]));
    assert_eq!(messages(&live.get(&format!("{P}/logs?module=net&level=WARN")).await.1), ["warn of net"]);
    assert_eq!(messages(&live.get(&format!("{P}/logs?deviceId={}", "0".repeat(24))).await.1).len(), 0);
    live.stop().await;
}

#[tokio::test]
async fn a_deployment_made_over_the_api_is_told_and_its_reports_come_back_as_events() {
    let live = Live::start().await;
    let id = id_of(&live, "gw").await;
    let artifact =
        json!({"projectId": "plant", "package": "main", "version": "1.2.3", "content": "ZmlybXdhcmU="});
    let (_, created) = live.post("/v1/artifacts", artifact.clone()).await;
    let artifact_id = created["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(created["data"]["size"], "8", "64-bit integers are strings");
    let (status, error) = live.post("/v1/artifacts", artifact).await;
    assert!(
        status == 409 && error["message"].as_str().unwrap().starts_with("artifact already exists"),
        "{error}"
    );
    let (_, cohort) = live.post(&format!("{OP}/cohorts"), json!({"name": "pilot"})).await;
    let cohort_id = cohort["data"]["cohortId"].as_str().unwrap().to_owned();
    assert!(cohort["data"].get("activeDeploymentId").is_none());
    let joined =
        live.request("PATCH", &format!("{P}/devices/{id}"), Some(json!({"cohortId": cohort_id}))).await;
    assert_eq!(joined.1["data"]["cohortId"], json!(cohort_id));
    assert_eq!(live.coap(".u/desired", &["-A", "60"]).await.unwrap(), [0xA0]);
    let deployments = format!("{OP}/cohorts/{cohort_id}/deployments");
    let (status, deployed) =
        live.post(&deployments, json!({"name": "first", "artifactIds": [artifact_id]})).await;
    assert_eq!(status, 200);
    let (_, shown) = live.get(&format!("{OP}/cohorts/{cohort_id}")).await;
    assert_eq!(
        (&shown["data"]["activeDeploymentId"], &shown["data"]["deviceCount"]),
        (&deployed["data"]["deploymentId"], &json!(1))
    );
    let manifest: Value =
        serde_json::from_slice(&live.coap(".u/desired", &["-A", "50"]).await.unwrap()).unwrap();
    let component = &manifest["components"][0];
    assert_eq!((&component["uri"], &component["size"]), (&json!("/.u/c/main@1.2.3"), &json!(8)));
    let (_, binary) = live.get(&format!("{P}/artifacts/{artifact_id}")).await;
    let binary = &binary["data"]["binaryInfo"];
    assert_eq!((&binary["type"], &binary["size"]), (&component["type"], &json!(8)), "free-form: a number");
    assert_eq!(binary["digests"]["sha256"]["digest"], component["hash"]);
    assert_eq!(live.coap(".u/c/main@1.2.3", &["-A", "42"]).await.unwrap(), b"firmware");
    let (status, error) = live.request("DELETE", &format!("{P}/artifacts/{artifact_id}"), None).await;
    assert_eq!((status, &error["message"]), (400, &json!("artifact in use")));

    for report in
        [r#"{"s":1,"r":0,"pkg":"main","v":"1.2.2","t":"1.2.3"}"#, r#"{"s":3,"r":1,"pkg":"main","v":"1.2.3"}"#]
    {
        live.coap(".u/c/main", &["-m", "post", "-t", "50", "-e", report]).await.unwrap();
    }
    let (_, events) = live.get(&format!("{OP}/ota-events?deviceId={id}")).await;
    let kinds: Vec<_> =
        events["list"].as_array().unwrap().iter().map(|e| (&e["eventType"], &e["status"])).collect();
    assert_eq!(kinds, [(&json!("UPDATING"), &json!(1)), (&json!("DOWNLOADING"), &json!(0))], "newest first");
    assert_eq!(events["list"][1]["targetVersion"], "1.2.3");
    let (_, first) = live.get(&format!("{OP}/ota-events?limit=1")).await;
    assert_eq!(first["nextPageToken"], "1");
    let (_, second) = live.get(&format!("{OP}/ota-events?limit=1&pageToken=1")).await;
    assert_eq!(second["list"][0]["eventType"], "DOWNLOADING");
    let (_, device) = live.get(&format!("{P}/devices/{id}")).await;
    let update = &device["data"]["metadata"]["update"]["main"];
    assert_eq!((&update["version"], &update["state"]), (&json!("1.2.3"), &json!("UPDATING")));
    assert_eq!((&update["reasonCode"], &update["stateCode"]), (&json!("1"), &json!("3")), "codes as texts");
    assert_eq!(update["reason"], "firmware updated successfully");
    let (_, stats) = live.get(&format!("{OP}/ota-events/stats?deviceId={id}")).await;
    let counts = json!([{"eventType": "DOWNLOADING", "count": 1}, {"eventType": "UPDATING", "count": 1}]);
    assert_eq!(
        (&stats["list"][0]["stats"], &stats["list"][0]["timestamp"]),
        (&counts, &json!("2026-01-02T00:00:00.000000000Z"))
    );
    live.stop().await;
}

#[tokio::test]
async fn settings_made_over_the_api_reach_the_device_and_its_status_comes_back() {
    let live = Live::start().await;
    let id = id_of(&live, "gw").await;
    let settings = format!("{P}/settings");
    let (_, rate) = live.post(&settings, json!({"key": "RATE", "dataType": "float", "value": 10})).await;
    assert_eq!(rate["data"]["dataType"], "float");
    assert_eq!(live.post(&settings, json!({"key": "RATE", "dataType": "float", "value": 1})).await.0, 409);
    assert_eq!(live.post(&settings, json!({"key": "rate", "dataType": "float", "value": 1})).await.0, 400);
    live.post(&settings, json!({"key": "RATE", "dataType": "float", "value": 2, "deviceId": id})).await;
    let (_, effective) = live.get(&format!("{P}/devices/{id}/settings")).await;
    assert_eq!((&effective["total"], &effective["list"][0]["value"]), (&json!(1), &json!(2)));
    assert_eq!(effective["list"][0]["deviceId"], json!(id));
    let told = live.coap(".c", &["-A", "60"]).await.unwrap();
    // The whole float 2 is a float on the wire.
    let head = hex("a2 6873657474696e6773 a1 6452415445 fb4000000000000000 6776657273696f6e 1b");
    assert_eq!(told[..head.len()], head);
    let version = i64::from_be_bytes(told[head.len()..].try_into().unwrap());
    let device = format!("{P}/devices/{id}");
    let status = |device: Value| device["data"]["metadata"]["lastSettingsStatus"].clone();
    assert_eq!(status(live.get(&device).await.1)["status"], "out-of-sync");
    let report = format!(r#"{{"version":{version}}}"#);
    live.coap(".c/status", &["-m", "post", "-t", "50", "-e", &report]).await.unwrap();
    let synced = status(live.get(&device).await.1);
    assert_eq!(synced["errors"], json!([]), "there even when it is empty");
    assert_eq!(
        (&synced["status"], &synced["reportedVersion"]),
        (&json!("in-sync"), &json!(version.to_string()))
    );
    let path = format!("{settings}/{}", rate["data"]["id"].as_str().unwrap());
    assert_eq!(live.request("PUT", &path, Some(json!({"value": 3.5}))).await.1["data"]["value"], json!(3.5));
    let report = format!(r#"{{"version":{version},"errors":[{{"setting_key":"RATE","error_code":4}}]}}"#);
    live.coap(".c/status", &["-m", "post", "-t", "50", "-e", &report]).await.unwrap();
    let refused = status(live.get(&device).await.1);
    assert_eq!(refused["status"], "out-of-sync");
    assert_eq!((&refused["errors"][0]["key"], &refused["errors"][0]["code"]), (&json!("RATE"), &json!(4)));
    live.stop().await;
}

#[tokio::test]
async fn what_no_pipeline_took_is_listed_with_path_type_and_time() {
    let mut config = config();
    config.routes = vec![Route::path("/sensor")];
    let live = Live::start_with(config).await;
    live.coap(".s/sensors/a", &["-m", "post", "-t", "50", "-e", "{}"]).await.unwrap();
    let (_, unmatched) = live.get(&format!("{OP}/pipeline-unmatched")).await;
    let row = &unmatched["list"][0];
    assert_eq!((&row["path"], &row["contentType"]), (&json!("/sensors/a"), &json!("application/json")));
    assert!(is_time(&row["timestamp"]));
    assert_eq!(row.as_object().unwrap().len(), 3, "nothing says from whom: {row}");
    assert_eq!(live.get(&format!("{OP}/pipelines/errors")).await, (200, json!({"errors": {}})));
    let (_, pipelines) = live.get(&format!("{OP}/pipelines")).await;
    let names: Vec<_> = pipelines["list"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["route 0", "Default CBOR Logs"]);
    assert!(pipelines["list"][0].get("pipeline").is_none(), "a list does not say what they do: {pipelines}");
    live.stop().await;
}

#[tokio::test]
async fn a_call_to_a_device_that_does_not_listen_ends_with_deadline_exceeded() {
    let live = Live::start().await;
    let path = format!("{P}/devices/{}/rpc", id_of(&live, "gw").await);
    let (status, error) = live.post(&path, json!({"method": "reboot", "timeout": "1"})).await;
    assert_eq!((status, &error["code"]), (504, &json!(4)));
    assert_eq!(live.post(&path, json!({"params": []})).await.0, 400);
    live.stop().await;
}

#[tokio::test]
async fn a_disabled_device_gets_no_new_session() {
    let live = Live::start().await;
    let path = format!("{P}/devices/{}", id_of(&live, "gw").await);
    assert_eq!(
        live.request("PATCH", &path, Some(json!({"enabled": false}))).await.1["data"]["enabled"],
        false
    );
    let _refused = live.coap("hello", &["-B", "3"]).await;
    assert_eq!(live.handle.read(|cloud| cloud.counters().handshakes), 0);
    live.request("PATCH", &path, Some(json!({"enabled": true}))).await;
    assert_eq!(live.coap("hello", &["-m", "get"]).await.unwrap(), b"Hello gw");
    until(&live.handle, |cloud| cloud.counters().handshakes == 1).await;
    live.stop().await;
}
