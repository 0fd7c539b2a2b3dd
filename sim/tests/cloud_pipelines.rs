//! Pipelines over the management API: what they take is stored where they say, and what none takes is listed and lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "what the tests share is more than this one needs")]

mod cloud_common;

use cloud_common::live::{Live, until};
use cloud_common::{base64, config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const P: &str = "/v1/projects/plant";
const OP: &str = "/v1/organizations/acme/projects/plant";

/// A project without any pipeline.
async fn bare() -> Live {
    let mut config = config();
    config.routes = Vec::new();
    Live::start_with(config).await
}

async fn pipeline(live: &Live, name: &str, yaml: &str) -> String {
    let body = json!({"name": name, "enabled": true, "pipeline": base64(yaml.as_bytes())});
    let (status, made) = live.post(&format!("{OP}/pipelines"), body).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["data"]["pipeline"], json!(base64(yaml.as_bytes())));
    made["data"]["pipelineId"].as_str().unwrap().to_owned()
}

async fn post(live: &Live, path: &str, json: &str) {
    live.coap(path, &["-m", "post", "-t", "50", "-e", json]).await.unwrap();
}

async fn unmatched(live: &Live) -> Vec<(String, String)> {
    let (_, listed) = live.get(&format!("{OP}/pipeline-unmatched")).await;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = listed["list"].as_array().unwrap();
    rows.iter().map(|row| (text(row, "path"), text(row, "contentType"))).collect()
}

async fn rows(live: &Live) -> Vec<Value> {
    let (_, found) = live.get(&format!("{P}/stream")).await;
    found["list"].as_array().unwrap().iter().map(|row| row["data"].clone()).collect()
}

/// Of the pipeline with this id, newest first.
async fn errors(live: &Live, id: &str) -> Vec<Value> {
    let (status, listed) = live.get(&format!("{OP}/pipelines/{id}/errors")).await;
    assert_eq!(status, 200, "{listed}");
    listed["errors"].as_array().unwrap().clone()
}

const STORE: &str =
    "steps:\n  - name: store\n    destination:\n      type: lightdb-stream\n      version: v1\n";

#[tokio::test]
async fn without_a_pipeline_everything_is_acknowledged_and_nothing_is_kept() {
    let live = bare().await;
    post(&live, ".s/sensor", r#"{"temp":20}"#).await;
    assert_eq!(unmatched(&live).await, [("/sensor".to_owned(), "application/json".to_owned())]);
    assert_eq!(rows(&live).await, [] as [Value; 0]);
    live.stop().await;
}

#[tokio::test]
async fn the_pipelines_that_ship_take_rows_apart_date_them_and_store_them_under_their_path() {
    let live = bare().await;
    pipeline(&live, "rows", include_str!("../../docs/pipelines/rows.yml")).await;
    // [{"t": 1700000000000, "temp": 20}, {"temp": 21}], indefinite as devices write it.
    let body = b"\x9F\xBF\x61t\x1B\x00\x00\x01\x8B\xCF\xE5\x68\x00\x64temp\x14\xFF\xBF\x64temp\x15\xFF\xFF";
    let file = live.file("batch", body);
    let send = ["-m", "post", "-t", "60", "-f", &file];
    live.coap(".s/sensor", &send).await.unwrap();
    assert_eq!(
        unmatched(&live).await,
        [("/sensor".to_owned(), "application/json".to_owned())],
        "what batch made"
    );
    assert_eq!(rows(&live).await.len(), 0);
    pipeline(&live, "readings", include_str!("../../docs/pipelines/readings.yml")).await;
    live.coap(".s/sensor", &send).await.unwrap();
    assert_eq!(rows(&live).await, [json!({"sensor": {"temp": 21}}), json!({"sensor": {"temp": 20}})]);
    let (_, dated) = live.get(&format!("{P}/stream?end=2023-11-14T22:13:20Z")).await;
    assert_eq!(dated["total"], 1);
    live.stop().await;
}

#[tokio::test]
async fn a_filter_names_a_path_or_a_prefix_and_a_content_type() {
    let live = bare().await;
    let filter = "filter:\n  path: \"/a/*\"\n  content_type: application/json\n";
    pipeline(&live, "a", &format!("{filter}{STORE}")).await;
    for path in [".s/a/b", ".s/a", ".s/b"] {
        post(&live, path, r#"{"n":1}"#).await;
    }
    live.coap(".s/a/c", &["-m", "post", "-t", "42", "-e", "bytes"]).await.unwrap();
    assert_eq!(rows(&live).await, [json!({"n": 1})]);
    let mut lost = unmatched(&live).await;
    lost.sort();
    let lost: Vec<_> = lost.iter().map(|(path, kind)| (path.as_str(), kind.as_str())).collect();
    assert_eq!(
        lost,
        [("/a", "application/json"), ("/a/c", "application/octet-stream"), ("/b", "application/json")]
    );
    live.stop().await;
}

#[tokio::test]
async fn a_pipeline_that_is_switched_off_or_deleted_takes_nothing() {
    let live = bare().await;
    let id = pipeline(&live, "all", STORE).await;
    let path = format!("{OP}/pipelines/{id}");
    let (status, off) = live.request("PUT", &path, Some(json!({"enabled": false}))).await;
    assert_eq!((status, &off["data"]["enabled"]), (200, &json!(false)));
    post(&live, ".s/x", "1").await;
    assert_eq!((unmatched(&live).await.len(), rows(&live).await.len()), (1, 0));
    live.request("PUT", &path, Some(json!({"enabled": true}))).await;
    post(&live, ".s/x", "2").await;
    assert_eq!(rows(&live).await, [json!(2)]);
    assert_eq!(live.request("DELETE", &path, None).await, (200, json!({})));
    post(&live, ".s/x", "3").await;
    assert_eq!(rows(&live).await, [json!(2)]);
    assert_eq!(live.get(&path).await.0, 404);
    live.stop().await;
}

#[tokio::test]
async fn a_transformer_with_a_destination_concerns_that_destination_alone() {
    let live = bare().await;
    let yaml = "steps:\n  - name: with-path\n    transformer:\n      type: inject-path\n    destination:\n      type: lightdb-state\n      \
                parameters:\n        path: /\n  - name: meta\n    transformer:\n      type: inject-metadata\n  - name: store\n    destination:\n      type: \
                lightdb-stream\n";
    pipeline(&live, "two", yaml).await;
    post(&live, ".s/a/b", r#"{"n":1}"#).await;
    assert_eq!(live.handle.read(|cloud| cloud.state("gw").cloned()), Some(json!({"a": {"b": {"n": 1}}})));
    let stored = rows(&live).await;
    assert_eq!((&stored[0]["data"], &stored[0]["project_id"]), (&json!({"n": 1}), &json!("plant")));
    assert!(stored[0]["timestamp"]["seconds"].is_i64(), "{stored:?}");
    live.stop().await;
}

#[tokio::test]
async fn logs_and_network_info_go_through_pipelines_as_well() {
    let live = bare().await;
    pipeline(&live, "logs", "filter:\n  path: /diag\nsteps:\n  - destination:\n      type: logs\n").await;
    let location = "filter:\n  path: /net\nsteps:\n  - transformer:\n      type: location\n    destination:\n      type: \
                    lightdb-stream\n";
    let net = pipeline(&live, "net", location).await;
    post(&live, ".s/diag", r#"{"level":"warn","module":"net","msg":"weak","rsrp":-110}"#).await;
    let (_, logs) = live.get(&format!("{P}/logs")).await;
    assert_eq!(
        (&logs["list"][0]["level"], &logs["list"][0]["metadata"]),
        (&json!("WARN"), &json!({"rsrp": -110}))
    );
    for body in [
        r#"{"cell":[{"type":"ltecatm","mcc":262,"mnc":1,"id":17,"strength":-90}]}"#,
        r#"{"wifi":[{"mac":"aa:bb:cc:00:11:22","rssi":-70}]}"#,
    ] {
        post(&live, ".s/net", body).await;
    }
    assert!(rows(&live).await.iter().all(|row| row["latitude"].is_f64()), "{:?}", rows(&live).await);
    assert_eq!((rows(&live).await.len(), errors(&live, &net).await.len()), (2, 0));
    post(&live, ".s/net", r#"{"cell":[{"type":"gsm"}]}"#).await;
    assert_eq!(rows(&live).await.len(), 2);
    let failed = errors(&live, &net).await;
    assert!(failed[0]["error"].as_str().unwrap().starts_with("location:"), "{failed:?}");
    live.stop().await;
}

#[tokio::test]
async fn a_step_that_fails_is_listed_under_its_pipeline_and_nothing_is_stored() {
    let live = bare().await;
    let id = pipeline(&live, "cbor", &format!("{}{STORE}", "")).await;
    live.coap(".s/x", &["-m", "post", "-t", "42", "-e", "bytes"]).await.unwrap();
    let batch = "filter:\n  path: /again\nsteps:\n  - destination:\n      type: batch\n";
    let looping = pipeline(&live, "again", batch).await;
    post(&live, ".s/again", "[[[[[[1]]]]]]").await;
    let own = errors(&live, &looping).await;
    assert!(own[0]["error"].as_str().unwrap().contains("without end"), "{own:?}");
    let failed = errors(&live, &id).await;
    let device = live.get(&format!("{P}/devices?deviceName=gw")).await.1["list"][0]["id"].clone();
    assert_eq!((failed.len(), &failed[0]["source"], &failed[0]["step"]), (1, &device, &json!(0)));
    assert_eq!(failed[0]["type"], "io.golioth.data.v1/.s/x");
    let (_, counts) = live.get(&format!("{OP}/pipelines/errors")).await;
    let days: Vec<_> = counts["errors"].as_object().unwrap().values().collect();
    let of = |id: &str| json!({"id": id, "errors": 1});
    let mut both = [of(&id), of(&looping)];
    both.sort_by_key(|one| one["id"].to_string());
    assert_eq!(days, [&json!({"errors": both})], "one day, each pipeline with its count");
    let future = format!("{OP}/pipelines/errors?start=2030-01-01T00:00:00Z");
    assert_eq!(live.get(&future).await.1, json!({"errors": {}}));
    assert_eq!(unmatched(&live).await.len(), 0);
    live.stop().await;
}

#[tokio::test]
async fn what_is_no_pipeline_is_refused_with_its_line() {
    let live = bare().await;
    let refused = |yaml: &str| json!({"name": "x", "enabled": true, "pipeline": base64(yaml.as_bytes())});
    let (status, error) = live.post(&format!("{OP}/pipelines"), refused("steps:\n\t- a")).await;
    assert_eq!((status, &error["code"]), (400, &json!(3)));
    assert!(error["message"].as_str().unwrap().contains("line 2"), "{error}");
    let kafka = "steps:\n  - destination:\n      type: kafka\n";
    let (status, error) = live.post(&format!("{OP}/pipelines"), refused(kafka)).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("brokers"), "{error}");
    assert_eq!(live.post(&format!("{OP}/pipelines"), json!({"name": "x", "pipeline": "%"})).await.0, 400);
    pipeline(&live, "x", STORE).await;
    assert_eq!(live.post(&format!("{OP}/pipelines"), refused(STORE)).await.0, 409);
    live.stop().await;
}

/// A web service that answers one request; what it was asked.
async fn service(answer: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        let mut buffer = [0; 4096];
        while !asked.ends_with("{\"n\":1}") {
            let length = stream.read(&mut buffer).await.unwrap();
            asked.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        asked
    });
    (address, task)
}

#[tokio::test]
async fn a_webhook_is_asked_with_its_secret_and_its_answer_replaces_the_message() {
    let live = bare().await;
    let (address, asked) =
        service("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"m\":2}")
            .await;
    let (_, made) = live.post(&format!("{OP}/secrets"), json!({"name": "key", "secret": "sesame"})).await;
    assert_eq!(made["data"], json!({"name": "KEY", "type": "PIPELINE"}), "never shown again");
    let yaml = format!(
        "steps:\n  - name: ask\n    transformer:\n      type: webhook\n      parameters:\n        url: http://{address}/decode\n        \
         headers:\n          x-secret: $KEY\n  - name: store\n    destination:\n      type: lightdb-stream\n"
    );
    pipeline(&live, "ask", &yaml).await;
    post(&live, ".s/x", r#"{"n":1}"#).await;
    let asked = asked.await.unwrap();
    for part in [
        "POST /decode ",
        "x-secret: sesame\r\n",
        "Ce-Type: io.golioth.data.v1/.s/x\r\n",
        "Ce-Subject: plant\r\n",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    while rows(&live).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(rows(&live).await, [json!({"m": 2})]);
    live.stop().await;
}

#[tokio::test]
async fn a_webhook_that_refuses_is_an_error_of_its_pipeline() {
    let live = bare().await;
    let (address, _asked) = service("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let yaml = format!(
        "steps:\n  - destination:\n      type: webhook\n      parameters:\n        url: http://{address}/\n"
    );
    let ask = pipeline(&live, "ask", &yaml).await;
    post(&live, ".s/x", r#"{"n":1}"#).await;
    until(&live.handle, |cloud| !cloud.pipeline_errors().is_empty()).await;
    assert_eq!(errors(&live, &ask).await[0]["error"], "webhook: HTTP 500");
    live.stop().await;
}

#[tokio::test]
async fn a_secret_has_one_value_whatever_the_case_of_its_name_and_is_not_shown() {
    let live = bare().await;
    let secrets = format!("{OP}/secrets");
    assert_eq!(live.post(&secrets, json!({"name": "token_1", "secret": "a"})).await.0, 200);
    assert_eq!(live.post(&secrets, json!({"name": "TOKEN_1", "secret": "b"})).await.0, 409);
    for name in ["1st", "with-dash", ""] {
        assert_eq!(live.post(&secrets, json!({"name": name, "secret": "x"})).await.0, 400, "{name:?}");
    }
    let shown = json!({"name": "TOKEN_1", "type": "PIPELINE"});
    assert_eq!(live.get(&secrets).await, (200, json!({"list": [shown.clone()]})));
    assert_eq!(live.get(&format!("{secrets}/Token_1?type=PIPELINE")).await, (200, json!({"data": shown})));
    assert_eq!(live.request("DELETE", &format!("{secrets}/token_1"), None).await, (200, json!({})));
    assert_eq!(live.get(&format!("{secrets}/token_1")).await.0, 404);
    live.stop().await;
}

/// Steps that take binary structures apart, patch them, and store them.
const STRUCTS: &str = "steps:
  - name: read
    transformer:
      type: struct-to-json
      version: v1
      parameters:
        members:
          - name: temp
            type: float
          - name: length
            type: u8
          - name: where
            type: string
            lengthField: length
  - name: patch
    transformer:
      type: json-patch
      version: v1
      parameters:
        patch: |
          [
            {\"op\": \"remove\", \"path\": \"/length\"},
            {\"op\": \"add\", \"path\": \"/unit/of/temp\", \"value\": \"C\"}
          ]
  - name: store
    destination:
      type: lightdb-stream
";

#[tokio::test]
async fn structures_are_taken_apart_patched_and_stored() {
    let live = bare().await;
    let id = pipeline(&live, "structs", STRUCTS).await;
    let file = live.file("struct", b"\x00\x00\xbc\x41\x04pipe");
    live.coap(".s/x", &["-m", "post", "-t", "42", "-f", &file]).await.unwrap();
    let expected = json!({"temp": 23.5, "where": "pipe", "unit": {"of": {"temp": "C"}}});
    assert_eq!(rows(&live).await, [expected]);
    let short = live.file("short", b"\x00\x00\xbc\x41\x09pipe");
    live.coap(".s/x", &["-m", "post", "-t", "42", "-f", &short]).await.unwrap();
    let failed = errors(&live, &id).await;
    assert!(failed[0]["error"].as_str().unwrap().contains("ends before where"), "{failed:?}");
    live.stop().await;
}

#[tokio::test]
async fn any_bytes_can_be_embedded_in_json_as_base64_and_come_out_again() {
    let live = bare().await;
    let embed = "filter:\n  content_type: application/octet-stream\nsteps:\n  - transformer:\n      type: base64\n  - transformer:\n      \
                 type: embed-in-json\n      parameters:\n        key: raw\n    destination:\n      type: lightdb-stream\n  - \
                 transformer:\n      type: base64\n      parameters:\n        decode: true\n    destination:\n      type: kafka\n      \
                 parameters:\n        brokers: [b]\n        topic: t\n        username: u\n        password: p\n        \
                 sasl_mechanism: PLAIN\n";
    let id = pipeline(&live, "embed", embed).await;
    let body = [0xFB, 0xFF, 0x00, 0x7F];
    let file = live.file("bytes", &body);
    live.coap(".s/x", &["-m", "post", "-t", "42", "-f", &file]).await.unwrap();
    assert_eq!(rows(&live).await, [json!({"raw": "+/8Afw=="})]);
    let came_out = live.handle.read(|cloud| cloud.delivered().back().cloned()).unwrap();
    assert_eq!((came_out.destination.as_str(), came_out.body.as_slice()), ("kafka", &body[..]));
    assert_eq!(errors(&live, &id).await.len(), 0);
    live.stop().await;
}

#[tokio::test]
async fn destinations_outside_get_a_message_in_their_own_form_and_none_without_their_secrets() {
    let live = bare().await;
    let to = |kind: &str, parameters: &str| {
        format!(
            "filter:\n  content_type: application/json\nsteps:\n  - destination:\n      type: {kind}\n      parameters:\n{parameters}"
        )
    };
    let hub =
        pipeline(&live, "hub", &to("azure-event-hubs", "        conn_str: $HUB\n        topic: t\n")).await;
    let line = "        url: u\n        token: t\n        bucket: b\n        measurement: m\n";
    pipeline(&live, "line", &to("influxdb", line)).await;
    post(&live, ".s/a", r#"{"temp":20,"x":{"ok":true}}"#).await;
    let failed = errors(&live, &hub).await;
    assert_eq!(failed[0]["error"], "there is no secret $HUB");
    assert_eq!(live.post(&format!("{OP}/secrets"), json!({"name": "HUB", "secret": "s"})).await.0, 200);
    post(&live, ".s/a", r#"{"temp":21}"#).await;
    let got: Vec<_> = live.handle.read(|cloud| {
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        cloud.delivered().iter().map(|d| (d.destination.clone(), text(&d.body))).collect()
    });
    let kinds: Vec<_> = got.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["influxdb", "azure-event-hubs", "influxdb"]);
    assert!(got[0].1.contains(",project_id=plant temp=20,x.ok=true 17673"), "{}", got[0].1);
    let event: Value = serde_json::from_str(&got[1].1).unwrap();
    assert_eq!((&event["data"], &event["subject"]), (&json!({"temp": 21}), &json!("plant")));
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("io.golioth.data.v1/.s/a")));
    live.stop().await;
}

#[tokio::test]
async fn a_place_goes_from_the_network_to_the_map() {
    let live = bare().await;
    let yaml = "filter:\n  path: /net\nsteps:\n  - transformer:\n      type: location\n  - destination:\n      type: location\n";
    pipeline(&live, "map", yaml).await;
    assert_eq!(live.get(&format!("{OP}/location")).await, (200, json!({"list": []})));
    post(&live, ".s/net", r#"{"cell":[{"type":"nbiot","mcc":262,"mnc":1,"id":17}]}"#).await;
    let (_, shown) = live.get(&format!("{OP}/location")).await;
    let point = &shown["list"][0];
    assert!(point["lat"].is_f64() && point["lon"].is_f64() && point["accuracy"] == 1_000, "{shown}");
    let other = format!("{OP}/location?deviceIds={}", "0".repeat(24));
    assert_eq!(live.get(&other).await.1, json!({"list": []}));
    live.stop().await;
}

#[tokio::test]
async fn the_legacy_pipelines_take_single_messages_and_batches_and_store_each_once() {
    let live = bare().await;
    let tail = "  - name: split\n    destination:\n      type: batch\n      version: v1\n  - name: date\n    transformer:\n      type: \
                extract-timestamp\n  - name: nest\n    transformer:\n      type: inject-path\n    destination:\n      type: lightdb-stream\n";
    let head = "steps:\n  - name: read\n    transformer:\n      type: cbor-to-json\n";
    let filter = |kind: &str| format!("filter:\n  path: \"*\"\n  content_type: {kind}\n");
    let cbor = pipeline(&live, "cbor", &format!("{}{head}{tail}", filter("application/cbor"))).await;
    let json = pipeline(&live, "json", &format!("{}steps:\n{tail}", filter("application/json"))).await;
    post(&live, ".s/a", r#"{"n":1}"#).await;
    post(&live, ".s/a", r#"[{"n":2},{"n":3}]"#).await;
    let file = live.file("cbor", b"\x82\xA1\x61n\x04\xA1\x61n\x05");
    live.coap(".s/a", &["-m", "post", "-t", "60", "-f", &file]).await.unwrap();
    let mut stored: Vec<i64> = rows(&live).await.iter().map(|row| row["a"]["n"].as_i64().unwrap()).collect();
    stored.sort_unstable();
    assert_eq!(stored, [1, 2, 3, 4, 5]);
    assert_eq!((errors(&live, &cbor).await.len(), errors(&live, &json).await.len()), (0, 0));
    live.stop().await;
}
