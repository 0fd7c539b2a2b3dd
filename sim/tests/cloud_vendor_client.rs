//! The requests that Golioth's own clients make of the management API, in their order and form, and what they read of the answers without
//! asking whether it is there: its Python client, and the tests of its firmware SDK that use it.
//!
//! That client is in no package index, so it is not run here: these are its requests, written down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "what the tests share is more than this one needs")]

mod cloud_common;

use cloud_common::hex;
use cloud_common::live::{Live, line_of, until};
use serde_json::{Value, json};

/// The client keeps the answer's object and reads fields of it by name.
struct Client {
    live: Live,
    /// Below `/v1`, with the project, and with its organization.
    project: String,
    organization: String,
}

impl Client {
    async fn start() -> Self {
        let live = Live::start().await;
        let (status, projects) = live.get("/v1/projects").await;
        assert_eq!(status, 200);
        let first = &projects["list"][0];
        let (id, organization) = (first["id"].as_str().unwrap(), first["organizationId"].as_str().unwrap());
        let (project, organization) =
            (format!("/v1/projects/{id}"), format!("/v1/organizations/{organization}/projects/{id}"));
        Self { live, project, organization }
    }

    /// Every answer of a success is 200; what `data` holds.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let body = (!body.is_null()).then_some(body);
        let (status, answer) = self.live.request(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer.get("data").cloned().unwrap_or(answer)
    }

    /// The message of an error, which is what the client goes by.
    async fn refused(&self, method: &str, path: &str, body: Value) -> String {
        let (status, answer) = self.live.request(method, path, Some(body)).await;
        assert!(status >= 400, "{method} {path}: {answer}");
        answer["message"].as_str().unwrap().to_owned()
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        self.ask("GET", path, Value::Null).await["list"].as_array().unwrap().clone()
    }

    async fn device(&self, name: &str) -> (String, Value) {
        let found = self.list(&format!("{}/devices?deviceName={name}", self.project)).await;
        (format!("{}/devices/{}", self.project, found[0]["id"].as_str().unwrap()), found[0].clone())
    }

    async fn upload(&self, package: &str, version: &str, blueprint: Value) -> Value {
        let body = json!({"projectId": "plant", "content": "ZmlybXdhcmU=", "version": version, "package": package, "blueprintId": blueprint});
        self.ask("POST", "/v1/artifacts", body).await
    }
}

fn id(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_else(|| panic!("no {name} in {of}")).to_owned()
}

#[tokio::test]
async fn a_device_is_made_given_a_key_found_by_its_name_and_deleted() {
    let client = Client::start().await;
    let devices = format!("{}/devices", client.project);
    let body = json!({"name": "generated-x", "hardwareIds": ["generated-x"], "tagIds": []});
    let made = client.ask("POST", &devices, body).await;
    let path = format!("{devices}/{}", id(&made, "id"));
    assert_eq!((&made["enabled"], &made["tagIds"]), (&json!(true), &json!([])));
    let key = json!({"type": "PRE_SHARED_KEY", "identity": "generated-x", "preSharedKey": "generated-x"});
    client.ask("POST", &format!("{path}/credentials"), key).await;
    let keys = client.list(&format!("{path}/credentials")).await;
    assert_eq!(
        (id(&keys[0], "identity"), id(&keys[0], "preSharedKey")),
        ("generated-x@plant".into(), "generated-x".into())
    );
    let as_it = ["-u", "generated-x@plant", "-k", "generated-x", "-m", "get"];
    assert_eq!(client.live.coap("hello", &as_it).await.unwrap(), b"Hello generated-x");
    assert_eq!(client.device("generated-x").await.0, path);
    client.ask("DELETE", &path, Value::Null).await;
    assert!(client.list(&format!("{devices}?deviceName=generated-x")).await.is_empty());
    client.live.stop().await;
}

#[tokio::test]
async fn tags_blueprints_and_cohorts_come_and_go_as_the_client_says_it() {
    let client = Client::start().await;
    let (path, _) = client.device("gw").await;
    let (tags, blueprints) = (format!("{}/tags", client.project), format!("{}/blueprints", client.project));
    let tag = id(&client.ask("POST", &tags, json!({"name": "red"})).await, "id");
    assert!(
        client.refused("POST", &tags, json!({"name": "red"})).await.contains("tag name already being used")
    );
    assert!(
        client.refused("POST", &tags, json!({"name": "r/d"})).await.contains("can use only use characters")
    );
    let body = json!({"name": "board", "platform": "zephyr", "boardId": "nrf9160dk_nrf9160"});
    let blueprint = client.ask("POST", &blueprints, body).await;
    assert_eq!(
        (&blueprint["platform"], &blueprint["boardId"]),
        (&json!("zephyr"), &json!("nrf9160dk_nrf9160"))
    );
    assert_eq!(json!(client.list(&format!("{blueprints}?blueprintName=board")).await), json!([blueprint]));
    let blueprint = id(&blueprint, "id");
    let cohorts = format!("{}/cohorts", client.organization);
    let cohort = client.ask("POST", &cohorts, json!({"name": "pilot"})).await;
    assert_eq!(cohort["deviceCount"], json!(0));
    let cohort = id(&cohort, "cohortId");
    // Lists, though their names are in the singular.
    let device = client.ask("PATCH", &path, json!({"addTagId": [tag]})).await;
    assert_eq!(device["tagIds"], json!([tag]));
    let device = client.ask("PATCH", &path, json!({"blueprintId": blueprint, "cohortId": cohort})).await;
    assert_eq!((&device["blueprintId"], &device["cohortId"]), (&json!(blueprint), &json!(cohort)));
    client.ask("PATCH", &path, json!({"removeTagId": [tag]})).await;
    client.ask("PATCH", &path, json!({"blueprintId": null})).await;
    let device = client.ask("PATCH", &path, json!({"cohortId": null})).await;
    let left = ["blueprintId", "cohortId"].map(|name| device.get(name).is_some());
    assert_eq!((&device["tagIds"], left), (&json!([]), [false, false]), "absent, not null: {device}");
    let renamed = client.ask("PUT", &format!("{cohorts}/{cohort}"), json!({"name": "all"})).await;
    assert_eq!(renamed["name"], "all");
    for (path, gone) in
        [(format!("{cohorts}/{cohort}"), "cohort not found"), (format!("{tags}/{tag}"), "tag not found")]
    {
        client.ask("DELETE", &path, Value::Null).await;
        assert_eq!(client.refused("DELETE", &path, Value::Null).await, gone);
    }
    client.live.stop().await;
}

#[tokio::test]
async fn a_deployment_is_made_and_cleaned_up_in_the_clients_order() {
    let client = Client::start().await;
    let (packages, cohorts) =
        (format!("{}/packages", client.organization), format!("{}/cohorts", client.organization));
    let body = json!({"packageId": "main-1", "description": "", "metadata": {}});
    assert_eq!(id(&client.ask("POST", &packages, body).await, "packageId"), "main-1");
    let notes = json!({"description": "d", "metadata": {"prop1": "a"}});
    client.ask("PUT", &format!("{packages}/main-1"), notes.clone()).await;
    let package = client.ask("GET", &format!("{packages}/main-1"), Value::Null).await;
    assert_eq!((&package["description"], &package["metadata"]), (&notes["description"], &notes["metadata"]));
    client.ask("PUT", &format!("{packages}/main-1"), json!({"description": "", "metadata": {}})).await;
    let package = client.ask("GET", &format!("{packages}/main-1"), Value::Null).await;
    assert_eq!((&package["description"], &package["metadata"]), (&json!(""), &json!({})));

    let artifact = client.upload("main-1", "255.13.37-variant", Value::Null).await;
    assert!(
        artifact.get("blueprintId").is_none() && artifact["binaryInfo"]["type"] == "default",
        "{artifact}"
    );
    let artifact = id(&artifact, "id");
    let cohort =
        format!("{cohorts}/{}", id(&client.ask("POST", &cohorts, json!({"name": "c"})).await, "cohortId"));
    let body = json!({"name": "deployment-1", "artifactIds": [artifact]});
    let made = client.ask("POST", &format!("{cohort}/deployments"), body).await;
    let listed = client.list(&format!("{cohort}/deployments")).await;
    assert_eq!((&listed[0]["name"], &listed[0]["artifactIds"]), (&json!("deployment-1"), &json!([artifact])));
    assert_eq!(
        client.ask("GET", &format!("{cohort}/deployments/{}", id(&made, "deploymentId")), Value::Null).await,
        made
    );
    let path = format!("{}/artifacts/{artifact}", client.project);
    assert!(client.refused("DELETE", &path, Value::Null).await.contains("artifact in use"));
    // The package goes last, with what is in it.
    client.ask("DELETE", &cohort, Value::Null).await;
    client.ask("DELETE", &format!("{packages}/main-1"), Value::Null).await;
    assert!(client.list(&format!("{}/artifacts", client.project)).await.is_empty());
    let wrong = format!("{}/artifacts/nonsense", client.project);
    assert!(
        client.refused("DELETE", &wrong, Value::Null).await.contains("hex string is not a valid ObjectID")
    );
    client.live.stop().await;
}

#[tokio::test]
async fn a_legacy_release_reaches_the_devices_of_its_tags_while_it_is_rolled_out() {
    let client = Client::start().await;
    let (path, _) = client.device("gw").await;
    let tag =
        id(&client.ask("POST", &format!("{}/tags", client.project), json!({"name": "hil"})).await, "id");
    client.ask("PATCH", &path, json!({"addTagId": [tag]})).await;
    let (old, new) = (
        client.upload("main", "1.2.2", Value::Null).await,
        client.upload("walrus", "0.4.2", Value::Null).await,
    );
    let releases = format!("{}/releases", client.project);
    let body = |artifacts: Value, tags: Value| json!({"releaseTags": tags, "deviceTagIds": [tag], "artifactIds": artifacts, "rollout": false});
    let release = client.ask("POST", &releases, body(json!([old["id"], new["id"]]), json!(["1.2.2"]))).await;
    assert!(id(&release, "sequenceNumber").parse::<u64>().is_ok(), "a 64-bit integer is a text: {release}");
    let again = client.refused("POST", &releases, body(json!([old["id"]]), json!(["1.2.2"]))).await;
    assert!(again.contains("already exists with same release tag"), "{again}");
    let used = format!("{}/artifacts/{}", client.project, id(&old, "id"));
    assert!(client.refused("DELETE", &used, Value::Null).await.contains("artifact in use"));

    let mut observer = client.live.coap_observe(".u/desired", &["-m", "get", "-A", "50"]);
    assert_eq!(line_of(&mut observer).await, b"{}");
    let one = format!("{releases}/{}", id(&release, "id"));
    assert_eq!(client.ask("PATCH", &one, json!({"rollout": true})).await["rollout"], json!(true));
    let manifest: Value = serde_json::from_slice(&line_of(&mut observer).await).unwrap();
    let component = &manifest["components"][0];
    assert_eq!((&component["package"], &component["version"]), (&old["package"], &old["version"]));
    assert_eq!(component["hash"], old["binaryInfo"]["digests"]["sha256"]["digest"]);
    assert_eq!(
        (&component["size"], &component["type"]),
        (&old["binaryInfo"]["size"], &old["binaryInfo"]["type"])
    );
    client.ask("PATCH", &one, json!({"rollout": false})).await;
    assert_eq!(line_of(&mut observer).await, b"{}", "taken back");
    observer.kill().await.unwrap();
    assert_eq!(client.list(&format!("{releases}?rollout=false")).await.len(), 1);
    client.ask("DELETE", &one, Value::Null).await;
    assert!(client.refused("DELETE", &one, Value::Null).await.contains("release not found"));
    client.live.stop().await;
}

#[tokio::test]
async fn a_call_is_read_for_its_detail_even_where_the_device_gave_none() {
    let client = Client::start().await;
    let (path, _) = client.device("gw").await;
    let mut listener = client.live.coap_observe(".rpc", &["-m", "get", "-A", "60"]);
    assert_eq!(line_of(&mut listener).await, b"\x62OK");
    // {"id": ID, "statusCode": 0}, as the SDK writes it.
    let device = async {
        let told = line_of(&mut listener).await;
        let length = usize::from(told[4] & 0x1F);
        let mut answer = vec![0xBF, 0x62, b'i', b'd', 0x60 + length as u8];
        assert!(told[4] < 0x78, "a short id");
        answer.extend(&told[5..5 + length]);
        answer.extend(hex("6a 737461747573436f6465 00 ff"));
        let file = client.live.file("answer", &answer);
        client.live.coap(".rpc/status", &["-m", "post", "-t", "60", "-f", &file]).await.unwrap();
    };
    let body = json!({"method": "ping", "params": [[], 1, "x"]});
    let rpc = format!("{path}/rpc");
    let (answer, ()) = tokio::join!(client.ask("POST", &rpc, body), device);
    assert_eq!(answer, json!({"statusCode": 0, "detail": null}));
    listener.kill().await.unwrap();
    client.live.stop().await;
}

#[tokio::test]
async fn settings_are_found_by_their_key_and_changed_by_their_id() {
    let client = Client::start().await;
    let (path, _) = client.device("gw").await;
    let settings = format!("{}/settings", client.project);
    let of = |list: Vec<Value>, key: &str| list.into_iter().find(|setting| setting["key"] == key);
    client.ask("POST", &settings, json!({"key": "TEST_FLOAT", "dataType": "float", "value": 1.23})).await;
    let project = of(client.list(&settings).await, "TEST_FLOAT").unwrap();
    let effective = of(client.list(&format!("{path}/settings")).await, "TEST_FLOAT").unwrap();
    assert!(effective.get("deviceId").is_none(), "no override yet: {effective}");
    // A whole number is called an integer by the client, whatever the setting is.
    let device_id = path.rsplit('/').next().unwrap();
    let whole = json!({"key": "TEST_FLOAT", "dataType": "integer", "value": 10, "deviceId": device_id});
    client.ask("POST", &settings, whole).await;
    let own = of(client.list(&format!("{path}/settings")).await, "TEST_FLOAT").unwrap();
    assert_eq!((&own["deviceId"], &own["value"]), (&json!(device_id), &json!(10)));
    let told = client.live.coap(".c", &["-A", "60"]).await.unwrap();
    assert!(
        told.windows(9).any(|part| part == hex("fb 4024000000000000")),
        "a float all the same: {told:02x?}"
    );
    let changed = json!({"key": "TEST_FLOAT", "dataType": "float", "value": 2.25, "deviceId": device_id});
    client.ask("PUT", &format!("{settings}/{}", id(&own, "id")), changed).await;
    client.ask("DELETE", &format!("{settings}/{}", id(&own, "id")), Value::Null).await;
    let left = of(client.list(&settings).await, "TEST_FLOAT").unwrap();
    assert_eq!((&left["id"], &left["value"]), (&project["id"], &json!(1.23)));
    // {"errors": [{"setting_key": "A", "error_code": 1}], "version": 7}, as the SDK writes it.
    let status = hex(
        "bf 6665 72726f7273 9f bf 6b 73657474696e675f6b6579 6141 6a 6572726f725f636f6465 01 ff ff 6776657273696f6e 07 ff",
    );
    let file = client.live.file("status", &status);
    client.live.coap(".c/status", &["-m", "post", "-t", "60", "-f", &file]).await.unwrap();
    let device = client.ask("GET", &path, Value::Null).await;
    let errors = &device["metadata"]["lastSettingsStatus"]["errors"];
    assert_eq!((&errors[0]["key"], &errors[0]["code"]), (&json!("A"), &json!(1)));
    client.live.stop().await;
}

#[tokio::test]
async fn a_body_sent_up_in_blocks_is_read_back_from_the_stream_whole() {
    let client = Client::start().await;
    let (path, device) = client.device("gw").await;
    let large: Value = (0..400).map(|n| json!({"n": n, "text": format!("entry {n}")})).collect();
    let file = client.live.file("large", json!({"entries": large}).to_string().as_bytes());
    client
        .live
        .coap(".s/data/block_upload", &["-m", "post", "-t", "50", "-b", "1024", "-f", &file])
        .await
        .unwrap();
    let query = json!({
        "fields": [{"path": "time", "type": ""}, {"path": "deviceId", "type": ""}, {"path": "*", "type": ""}],
        "filters": [{"path": "data.block_upload", "op": "<>", "value": null}],
    });
    let body = json!({"interval": "1m", "encodedQuery": query.to_string()});
    let found = client.list(&format!("{path}/stream?interval=1m")).await;
    let asked = client.ask("POST", &format!("{path}/stream"), body).await;
    assert_eq!(asked["list"], json!(found));
    // The row's payload, and in it the path.
    let row = &found[0]["data"]["data"]["block_upload"];
    assert_eq!((&row["entries"], &found[0]["deviceId"]), (&large, &device["id"]));
    // The same query as an object, of the project, for this device or for another.
    for (device, rows) in [(device["id"].clone(), 1), (json!("0".repeat(24)), 0)] {
        let body = json!({"query": query, "deviceId": [device], "perPage": "10"});
        let found = client.ask("POST", &format!("{}/stream", client.project), body).await;
        assert_eq!((&found["total"], &found["perPage"]), (&json!(rows), &json!(10)));
    }
    client.live.stop().await;
}

#[tokio::test]
async fn what_the_sdk_logs_and_reports_is_read_under_the_names_its_tests_use() {
    let client = Client::start().await;
    let (path, device) = client.device("gw").await;
    let log = hex("bf 656c6576656c 6477 61726e 666d6f64756c65 636e6574 636d7367 626f6b ff");
    let file = client.live.file("log", &log);
    client.live.coap(".s/logs", &["-m", "post", "-t", "60", "-f", &file]).await.unwrap();
    until(&client.live.handle, |cloud| !cloud.logs().is_empty()).await;
    let logs = client.list(&format!("{}/logs?deviceId={}", client.project, id(&device, "id"))).await;
    let line = &logs[0];
    assert_eq!((&line["device_id"], &line["level"]), (&device["id"], &json!("WARN")));
    assert_eq!(
        (&line["message"], &line["module"], &line["type"]),
        (&json!("ok"), &json!("net"), &json!("LOGGING"))
    );
    assert!(line["metadata"].is_object() && id(line, "timestamp").ends_with('Z'), "{line}");
    for (reason, state) in [(0, 0), (5, 1), (11, 3)] {
        let report = format!(r#"{{"s":{state},"r":{reason},"pkg":"lobster","v":"2.3.4","t":"5.6.7"}}"#);
        client.live.coap(".u/c/lobster", &["-m", "post", "-t", "50", "-e", &report]).await.unwrap();
        let device = client.ask("GET", &path, Value::Null).await;
        let update = &device["metadata"]["update"]["lobster"];
        assert_eq!(
            (id(update, "reasonCode"), id(update, "stateCode")),
            (reason.to_string(), state.to_string())
        );
        assert_eq!(id(update, "state"), ["IDLE", "DOWNLOADING", "DOWNLOADED", "UPDATING"][state]);
        assert!(!id(update, "reason").is_empty());
        let named = ["package", "version", "target"].map(|name| id(update, name));
        assert_eq!(named, ["lobster", "2.3.4", "5.6.7"]);
    }
    client.live.stop().await;
}
