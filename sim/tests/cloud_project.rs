//! The management API of a project: provisioning, tags, blueprints, keys, certificates, releases, as an operator's client uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "what the tests share is more than this one needs")]

mod cloud_common;

use cloud_common::live::Live;
use serde_json::{Value, json};

const P: &str = "/v1/projects/plant";
const OP: &str = "/v1/organizations/acme/projects/plant";

fn id(made: &(u16, Value), name: &str) -> String {
    assert_eq!(made.0, 200, "{}", made.1);
    made.1["data"][name].as_str().unwrap().to_owned()
}

async fn names(live: &Live, query: &str) -> Vec<String> {
    let (status, page) = live.get(&format!("{P}/devices?{query}")).await;
    assert_eq!(status, 200, "{page}");
    page["list"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_provisioned_device_connects_at_once_and_a_refused_one_leaves_nothing() {
    let live = Live::start().await;
    let body = json!({"type": "PRE_SHARED_KEY", "name": "new", "identity": "new-id", "preSharedKey": "a-key", "hardwareIds": ["hw-9"]});
    let device = id(&live.post(&format!("{P}/provisioning"), body).await, "deviceId");
    let as_new = ["-u", "new-id@plant", "-k", "a-key", "-m", "get"];
    assert_eq!(live.coap("hello", &as_new).await.unwrap(), b"Hello new");
    assert_eq!(names(&live, "hardwareId=hw-9").await, ["new"]);
    let taken = json!({"name": "newer", "identity": "new-id", "preSharedKey": "a-key"});
    assert_eq!(live.post(&format!("{P}/provisioning"), taken).await.0, 409);
    assert_eq!(names(&live, "term=newer").await.len(), 0);
    let more = json!({"identity": "second", "preSharedKey": "another"});
    assert_eq!(
        live.post(&format!("{P}/devices/{device}/provisioning"), more).await.1["data"]["deviceId"],
        json!(device)
    );
    let third =
        json!({"deviceId": device, "type": "PRE_SHARED_KEY", "identity": "third", "preSharedKey": "x"});
    let credential = id(&live.post(&format!("{P}/credentials"), third).await, "id");
    let path = format!("{P}/credentials/{credential}?deviceId={device}");
    assert_eq!(live.request("DELETE", &path, None).await, (200, json!({})));
    let (_, left) = live.get(&format!("{P}/devices/{device}/credentials")).await;
    assert_eq!(left["list"].as_array().unwrap().len(), 2);
    live.stop().await;
}

#[tokio::test]
async fn tags_and_blueprints_choose_devices_in_either_form_of_an_array() {
    let live = Live::start().await;
    let red = id(&live.post(&format!("{P}/tags"), json!({"name": "red"})).await, "id");
    let big = id(&live.post(&format!("{P}/tags"), json!({"name": "big"})).await, "id");
    let print = id(&live.post(&format!("{P}/blueprints"), json!({"name": "pump"})).await, "id");
    let (status, error) = live.post(&format!("{P}/tags"), json!({"name": "red"})).await;
    assert_eq!((status, &error["message"]), (409, &json!("tag name already being used")));
    for (name, tags) in [("a", vec![&red, &big]), ("b", vec![&red])] {
        let body = json!({"name": name, "tagIds": tags, "blueprintId": print});
        assert_eq!(live.post(&format!("{P}/devices"), body).await.1["data"]["blueprintId"], json!(print));
    }
    assert_eq!(names(&live, &format!("tags={red}")).await, ["a", "b"]);
    assert_eq!(names(&live, &format!("tags={red}&tags={big}")).await, ["a"], "all of them");
    assert_eq!(names(&live, &format!("tags[]={red}&tags[]={big}")).await, ["a"]);
    assert_eq!(names(&live, &format!("blueprintId={print}")).await, ["a", "b"]);
    let data = format!("{P}/devicesByTag/{red}/data/desired");
    assert_eq!(live.request("PUT", &data, Some(json!({"led": 1}))).await.0, 200);
    let (_, page) = live.get(&format!("{P}/devices?tags={red}&statePath=desired/led")).await;
    assert_eq!((&page["list"][0]["data"], &page["list"][1]["data"]), (&json!(1), &json!(1)));
    assert_eq!(
        live.request("PUT", &format!("{P}/devicesByTag/{}/data", "0".repeat(24)), Some(json!(1))).await.0,
        404
    );
    live.request("DELETE", &format!("{P}/tags/{red}"), None).await;
    assert_eq!(names(&live, &format!("tags={red}")).await.len(), 0);
    live.stop().await;
}

#[tokio::test]
async fn an_update_mask_clears_what_it_names_and_spares_what_it_does_not() {
    let live = Live::start().await;
    let cohort = id(&live.post(&format!("{OP}/cohorts"), json!({"name": "pilot"})).await, "cohortId");
    let body = json!({"name": "a", "cohortId": cohort, "hardwareIds": ["h"], "unknown": {"field": 1}});
    let device = format!("{P}/devices/{}", id(&live.post(&format!("{P}/devices"), body).await, "id"));
    let put = |path: String, body| live_put(&live, path, body);
    let same = put(format!("{device}?updateMask=name"), json!({"name": "b", "enabled": false})).await;
    assert_eq!((&same["data"]["name"], &same["data"]["enabled"]), (&json!("b"), &json!(true)));
    assert_eq!(same["data"]["cohortId"], json!(cohort));
    let cleared = put(device.clone(), json!({"updateMask": "cohortId,hardwareIds"})).await;
    assert!(cleared["data"].get("cohortId").is_none(), "absent, not null: {cleared}");
    assert_eq!(cleared["data"]["hardwareIds"], json!([]));
    put(device.clone(), json!({"cohortId": cohort})).await;
    let cleared = put(device, json!({"cohortId": null})).await;
    assert!(cleared["data"].get("cohortId").is_none());
    live.stop().await;
}

async fn live_put(live: &Live, path: String, body: Value) -> Value {
    let (status, answer) = live.request("PUT", &path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_settings_level_holds_over_the_one_above_it() {
    let live = Live::start().await;
    let print = id(&live.post(&format!("{P}/blueprints"), json!({"name": "pump"})).await, "id");
    let device =
        id(&live.post(&format!("{P}/devices"), json!({"name": "a", "blueprintId": print})).await, "id");
    let settings = format!("{P}/settings");
    let make = |value: i64, level: Value| {
        let mut body = json!({"key": "RATE", "dataType": "integer", "value": value});
        body.as_object_mut().unwrap().extend(level.as_object().unwrap().clone());
        live.post(&settings, body)
    };
    assert_eq!(make(2, json!({"blueprintId": print})).await.0, 400, "nothing to override yet");
    make(1, json!({})).await;
    make(2, json!({"blueprintId": print})).await;
    let effective = format!("{P}/devices/{device}/settings");
    let (_, shown) = live.get(&effective).await;
    assert_eq!((&shown["total"], &shown["list"][0]["value"]), (&json!(1), &json!(2)));
    make(3, json!({"deviceId": device})).await;
    let (_, shown) = live.get(&effective).await;
    assert_eq!((&shown["list"][0]["value"], &shown["list"][0]["deviceId"]), (&json!(3), &json!(device)));
    let (_, of_print) = live.get(&format!("{settings}?blueprintId={print}")).await;
    assert_eq!((&of_print["total"], &of_print["list"][0]["blueprintId"]), (&json!(1), &json!(print)));
    let (_, types) = live.get("/v1/settings-data-types").await;
    assert_eq!((&types["total"], &types["list"][0]), (&json!(4), &json!({"type": "string"})));
    live.stop().await;
}

#[tokio::test]
async fn a_key_made_over_the_api_opens_it_until_it_is_deleted() {
    let live = Live::start().await;
    let made = live.post(&format!("{P}/apikeys"), json!({"name": "ci"})).await;
    let key = id(&made, "key");
    let header = format!("X-API-Key: {key}\r\n");
    assert_eq!(live.request_with("GET", &format!("{P}/devices"), None, &header).await.0, 200);
    let (_, listed) = live.get(&format!("{P}/apikeys")).await;
    assert_eq!(listed["list"][0]["key"], json!(key));
    let second = live.post(&format!("{P}/apikeys"), json!({"name": "cd", "type": "API_KEY_V2"})).await;
    assert!(second.1["data"]["key"].is_string(), "{}", second.1);
    let (_, listed) = live.get(&format!("{P}/apikeys")).await;
    assert!(listed["list"][1].get("key").is_none(), "of the second version a key is shown once: {listed}");
    let renamed = format!("{P}/apikeys/{}", id(&second, "id"));
    let renamed = live.request("PATCH", &renamed, Some(json!({"name": "robot"}))).await;
    assert_eq!(renamed.1["data"]["name"], "robot");
    live.request("DELETE", &format!("{P}/apikeys/{}", id(&made, "id")), None).await;
    assert_eq!(live.request_with("GET", &format!("{P}/devices"), None, &header).await.0, 401);
    live.stop().await;
}

#[tokio::test]
async fn certificates_are_taken_as_base64_of_pem() {
    let live = Live::start().await;
    let path = format!("{P}/certificates");
    let key = live.folder.path().join("key.pem");
    let made = tokio::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
        ])
        .args(["-subj", "/O=plant/CN=Plant Root", "-set_serial", "0x0123456789abcdef0123456789abcdef"])
        .args(["-keyout", key.to_str().unwrap()])
        .output()
        .await
        .expect("openssl is installed");
    let pem = cloud_common::base64(&made.stdout);
    assert_eq!(live.post(&path, json!({"certType": "leaf", "certFile": pem})).await.0, 400);
    assert_eq!(live.post(&path, json!({"certType": "root", "certFile": "eA=="})).await.0, 400);
    let made = id(&live.post(&path, json!({"certType": "root", "certFile": pem})).await, "id");
    let (_, shown) = live.get(&format!("{path}/{made}")).await;
    assert_eq!((&shown["data"]["enabled"], &shown["data"]["certType"]), (&json!(true), &json!("root")));
    let content = &shown["data"]["certificateContent"];
    assert_eq!(
        (&content["subject"], &content["issuer"]),
        (&json!("CN=Plant Root,O=plant"), &content["subject"])
    );
    assert_eq!(content["serialNumber"], 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_string());
    let kinds = (&content["version"], &content["publicKeyAlgorithm"], &content["signatureAlgorithm"]);
    assert_eq!(kinds, (&json!(3), &json!("ECDSA"), &json!("ECDSA-SHA256")));
    let time = |name: &str| content[name].as_str().unwrap().to_owned();
    assert!(time("notBefore") < time("notAfter") && time("notAfter").ends_with('Z'), "{content}");
    assert_eq!(live.request("DELETE", &format!("{path}/{made}"), None).await, (200, json!({})));
    assert_eq!(live.get(&path).await.1["total"], 0);
    live.stop().await;
}

#[tokio::test]
async fn a_deployment_cannot_be_changed_and_what_is_used_cannot_be_deleted() {
    let live = Live::start().await;
    let artifact = json!({"projectId": "plant", "package": "main", "version": "1", "content": "eA=="});
    let artifact = id(&live.post("/v1/artifacts", artifact).await, "id");
    let cohort = id(&live.post(&format!("{OP}/cohorts"), json!({"name": "pilot"})).await, "cohortId");
    let deployments = format!("{OP}/cohorts/{cohort}/deployments");
    let made = live.post(&deployments, json!({"name": "first", "artifactIds": [artifact]})).await;
    let deployment = format!("{deployments}/{}", id(&made, "deploymentId"));
    for method in ["PUT", "PATCH", "DELETE"] {
        assert_eq!(live.request(method, &deployment, Some(json!({"name": "x"}))).await.0, 501, "{method}");
    }
    assert_eq!(
        live.request("DELETE", &format!("{OP}/packages/main"), None).await.1["message"],
        "package in use"
    );
    live.post(&format!("{P}/devices"), json!({"name": "a", "cohortId": cohort})).await;
    assert_eq!(
        live.request("DELETE", &format!("{OP}/cohorts/{cohort}"), None).await.1["message"],
        "cohort in use"
    );
    let renamed = live_put(&live, format!("{OP}/cohorts/{cohort}"), json!({"name": "all"})).await;
    assert_eq!((&renamed["data"]["name"], &renamed["data"]["deviceCount"]), (&json!("all"), &json!(1)));
    let package = live_put(&live, format!("{OP}/packages/main"), json!({"description": "d"})).await;
    assert_eq!(package["data"]["description"], "d");
    let report = r#"{"state":2,"reason":0,"package":"main","target":"1"}"#;
    live.coap(".u/c/main", &["-m", "post", "-t", "50", "-e", report]).await.unwrap();
    let (_, logs) = live.get(&format!("{P}/firmware/logs")).await;
    let row = &logs["list"][0];
    assert_eq!(
        (&row["stateCode"], &row["reasonCode"], &row["target"]),
        (&json!("2"), &json!("0"), &json!("1"))
    );
    live.stop().await;
}
