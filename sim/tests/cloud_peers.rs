//! The simulated cloud on real sockets against a client that is not ours: libcoap with OpenSSL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod cloud_common;

use cloud_common::live::{Live, line_of, until};
use cloud_common::{config, hex};
use fieldgate_sim::cloud::CloudServer;
use serde_json::json;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn libcoap_reads_the_empty_manifest_byte_for_byte() {
    let live = Live::start().await;
    assert_eq!(live.coap(".u/desired", &["-m", "get", "-A", "60"]).await.unwrap(), [0xA0]);
    assert_eq!(live.coap("hello", &["-m", "get"]).await.unwrap(), b"Hello gw");
    assert_eq!(live.coap(".rpc", &["-m", "get"]).await.unwrap(), b"\x62OK");
    let settings = hex("a2 6873657474696e6773 f6 6776657273696f6e 00");
    assert_eq!(live.coap(".c", &["-m", "get", "-A", "60"]).await.unwrap(), settings);
    assert_eq!(live.handle.read(|cloud| cloud.counters().handshakes), 4);
    live.stop().await;
}

#[tokio::test]
async fn libcoap_writes_reads_and_deletes_state() {
    let live = Live::start().await;
    assert_eq!(live.coap(".d/a", &["-m", "get", "-A", "50"]).await.unwrap(), b"null");
    assert_eq!(live.coap(".d/a", &["-m", "put", "-t", "50", "-e", "{\"b\":1}"]).await.unwrap(), b"");
    assert_eq!(live.coap(".d/a/c", &["-m", "post", "-t", "50", "-e", "[2]"]).await.unwrap(), b"");
    assert_eq!(live.coap(".d/", &["-m", "get", "-A", "50"]).await.unwrap(), br#"{"a":{"b":1,"c":{"0":2}}}"#);
    assert_eq!(live.coap(".d/a/b", &["-m", "delete"]).await.unwrap(), b"");
    assert_eq!(live.handle.read(|cloud| cloud.state("gw").cloned()), Some(json!({"a": {"c": {"0": 2}}})));
    live.stop().await;
}

#[tokio::test]
async fn a_batch_from_libcoap_is_in_the_ledger_and_a_broken_one_is_refused() {
    let live = Live::start().await;
    let batch = hex("81 a4 6165 4401020304 6173 09 6174 1903e8 6474656d70 f94a40");
    let good = live.file("good", &batch);
    assert_eq!(live.coap(".s/sensor", &["-m", "post", "-t", "60", "-f", &good]).await.unwrap(), b"");
    assert!(live.handle.read(|cloud| cloud.intake().contains("gw", [1, 2, 3, 4], "temp", 9)));
    let broken = live.file("broken", &batch[..batch.len() - 1]);
    let refusal = live.coap(".s/sensor", &["-m", "post", "-t", "60", "-f", &broken]).await.unwrap_err();
    assert!(refusal.contains("4.00") && refusal.contains("invalid CBOR"), "{refusal}");
    let missing = live.coap("nowhere", &["-m", "get"]).await.unwrap_err();
    assert!(missing.contains("4.04"), "{missing}");
    live.stop().await;
}

#[tokio::test]
async fn bodies_go_up_in_libcoaps_blocks_and_artifacts_come_down_in_them() {
    let live = Live::start().await;
    let body: Vec<u8> = (0..5_000_u32).map(|n| (n * n / 11) as u8).collect();
    let file = live.file("large", &body);
    for size in ["1024", "256", "64"] {
        let sent = live.coap(".s/large", &["-m", "post", "-t", "42", "-b", size, "-f", &file]).await;
        assert_eq!(sent.unwrap(), b"", "blocks of {size}");
        let kept = live.handle.read(|cloud| cloud.messages("gw").unwrap().back().unwrap().body.clone());
        assert_eq!(kept, body, "blocks of {size}");
    }
    live.handle.with(|cloud, now| cloud.deploy(now, &["gw"], "main", "1.2.3", body.clone())).unwrap();
    for size in ["1024", "512", "16"] {
        let got = live.coap(".u/c/main@1.2.3", &["-m", "get", "-A", "42", "-b", size]).await.unwrap();
        assert_eq!(got, body, "blocks of {size}");
    }
    // Asked for a block in the middle, this client takes that block alone; the last is shorter.
    for (block, part) in
        [("2,1024", &body[2_048..3_072]), ("4,1024", &body[4_096..]), ("2,512", &body[1_024..1_536])]
    {
        let got = live.coap(".u/c/main@1.2.3", &["-m", "get", "-b", block]).await.unwrap();
        assert_eq!(got, part, "block {block}");
    }
    live.stop().await;
}

#[tokio::test]
async fn libcoap_is_told_of_every_change_it_observes() {
    let live = Live::start().await;
    let mut observer = live.coap_observe(".d/led", &["-m", "get", "-A", "50"]);
    assert_eq!(line_of(&mut observer).await, b"null");
    for value in 1..=3 {
        live.handle.with(|cloud, now| cloud.set_state(now, "gw", "led", json!(value))).unwrap();
        assert_eq!(line_of(&mut observer).await, value.to_string().as_bytes());
    }
    observer.kill().await.unwrap();
    live.stop().await;
}

#[tokio::test]
async fn a_call_over_the_management_api_reaches_a_device_and_brings_its_answer_back() {
    let live = Live::start().await;
    let (_, devices) = live.get("/v1/projects/plant/devices?deviceName=gw").await;
    let id = devices["list"][0]["id"].as_str().unwrap().to_owned();
    let mut listener = live.coap_observe(".rpc", &["-m", "get", "-A", "60"]);
    assert_eq!(line_of(&mut listener).await, b"\x62OK");
    let device = async {
        let told = line_of(&mut listener).await;
        // {"id": "double/xxxxxxxx", "method": "double", "params": [21]}
        assert_eq!(told[..5], hex("a3 626964 6f"));
        assert!(told.ends_with(&hex("666d6574686f64 66646f75626c65 66706172616d73 81 15")), "{told:02x?}");
        let mut answer = hex("bf 626964 6f");
        answer.extend(&told[5..20]);
        answer.extend(hex("6664657461696c bf 6576616c7565 182a ff 6a737461747573436f6465 00 ff"));
        let file = live.file("answer", &answer);
        live.coap(".rpc/status", &["-m", "post", "-t", "60", "-f", &file]).await.unwrap();
    };
    let path = format!("/v1/projects/plant/devices/{id}/rpc");
    let call = live.post(&path, json!({"method": "double", "params": [21]}));
    let (answer, ()) = tokio::join!(call, device);
    assert_eq!(answer, (200, json!({"statusCode": 0, "detail": {"value": 42}})));
    listener.kill().await.unwrap();
    live.stop().await;
}

#[tokio::test]
async fn openssls_client_asks_with_every_suite_and_is_answered() {
    let live = Live::start().await;
    // CON GET hello, message id 0x1234, token 0xAB; ACK, 2.05, the same, and what it says.
    let get = hex("41 01 1234 ab b5 68656c6c6f");
    for suite in ["CCM8", "CCM", "GCM-SHA256", "CBC-SHA256"] {
        let mut client = live.s_client(&format!("PSK-AES128-{suite}"));
        client.stdin.as_mut().unwrap().write_all(&get).await.unwrap();
        let mut answer = [0; 5];
        client.stdout.as_mut().unwrap().read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..], hex("61 45 1234 ab"), "{suite}");
        client.kill().await.unwrap();
    }
    let counters = live.handle.read(|cloud| cloud.counters());
    assert_eq!((counters.handshakes, counters.requests), (4, 4));
    live.stop().await;
}

#[tokio::test]
async fn a_wrong_key_and_an_unknown_identity_get_no_session() {
    let live = Live::start().await;
    for (identity, key) in [("gw@plant", "wrong"), ("nobody@plant", cloud_common::KEY)] {
        let refused = live.coap("hello", &["-u", identity, "-k", key, "-B", "3"]).await;
        assert!(!matches!(&refused, Ok(body) if !body.is_empty()), "{refused:?}");
    }
    assert_eq!(live.handle.read(|cloud| (cloud.counters().handshakes, cloud.counters().requests)), (0, 0));
    live.stop().await;
}

#[tokio::test]
async fn the_request_limit_holds_for_libcoap_too() {
    let mut config = config();
    config.requests_per_second = Some(0);
    let live = Live::start_with(config).await;
    let refused = live.coap("hello", &["-m", "get"]).await.unwrap_err();
    assert!(refused.contains("4.29"), "{refused}");
    live.stop().await;
}

#[tokio::test]
async fn the_ledger_can_be_waited_for_while_the_cloud_runs() {
    let live = Live::start().await;
    let batch = live.file("batch", &hex("81 a4 6165 4401020304 6173 09 6174 1903e8 6161 01"));
    let handle = live.handle.clone();
    let waiting = tokio::spawn(async move {
        until(&handle, |cloud| cloud.intake().counts().unique == 1).await;
        handle.read(|cloud| cloud.intake().iter().map(|entry| entry.alias.to_owned()).collect::<Vec<_>>())
    });
    live.coap(".s/a", &["-m", "put", "-t", "60", "-f", &batch]).await.unwrap();
    assert_eq!(waiting.await.unwrap(), ["a"]);
    live.stop().await;
}

#[tokio::test]
async fn an_address_others_could_reach_is_refused() {
    let live = Live::start().await;
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    for (udp, http) in [(open, None), (here, Some(open))] {
        let refused = CloudServer::bind(live.handle.clone(), udp, http).await.unwrap_err().to_string();
        assert!(refused.contains("0.0.0.0:0 is not loopback; use 127.0.0.1"), "{refused}");
    }
    live.stop().await;
}
