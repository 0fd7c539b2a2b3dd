//! What a cursor may be, and what it may not.

use super::super::{CursorError, GatewayError};
use super::*;

async fn refusal(gateway: &Gateway, cursor: &str) -> CursorError {
    match gateway.firmware_log_page(Some(cursor), 10).await {
        Err(GatewayError::Cursor(error)) => error,
        other => panic!("{cursor}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_altered_in_any_digit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    versions(&gateway, "main", 3).await;
    let good = gateway.firmware_log_page(None, 2).await.unwrap().next;
    for at in 0..good.len() {
        let mut altered = good.clone().into_bytes();
        altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(refusal(&gateway, &altered).await, CursorError::Malformed, "digit {at}");
    }
    for bad in ["", "0", &good[1..], &good.to_uppercase(), &format!("{good}00"), "é"] {
        if *bad != good {
            assert_eq!(refusal(&gateway, bad).await, CursorError::Malformed, "{bad}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_gateway_is_refused_as_that() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (open(one.path(), 1, 1), open(two.path(), 1, 2));
    versions(&one, "main", 2).await;
    versions(&two, "main", 2).await;
    let foreign = one.firmware_log_page(None, 2).await.unwrap().next;
    let refused = refusal(&two, &foreign).await;
    assert_eq!(refused, CursorError::Foreign { theirs: one.identity().file, ours: two.identity().file });
    assert!(refused.to_string().contains("belongs to another gateway"));
    let begin = one.firmware_log_page(None, 1).await.unwrap().next;
    assert!(matches!(two.acknowledge("p", &begin).await, Err(GatewayError::Cursor(_))));
}

#[tokio::test(start_paused = true)]
async fn copies_of_one_file_share_their_past_and_refuse_each_others_future() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let original = open(here.path(), 1, 1);
    versions(&original, "main", 2).await;
    original.stop();
    drop(original);
    std::fs::copy(here.path().join("gateway.db"), there.path().join("gateway.db")).unwrap();
    let (original, copy) = (open(here.path(), 2, 2), open(there.path(), 3, 3));
    assert_eq!(original.identity().gateway, copy.identity().gateway);
    let shared = original.firmware_log_page(None, 2).await.unwrap().next;
    original.observe_version(&key("main"), "9.0").await.unwrap();
    copy.observe_version(&key("main"), "8.0").await.unwrap();
    assert_eq!(copy.firmware_log_page(Some(&shared), 10).await.unwrap().rows.len(), 1);
    let future = original.firmware_log_page(None, 10).await.unwrap().next;
    assert_eq!(refusal(&copy, &future).await, CursorError::Diverged { position: 3 });
    original.observe_version(&key("main"), "10.0").await.unwrap();
    let beyond = original.firmware_log_page(None, 10).await.unwrap().next;
    assert_eq!(refusal(&copy, &beyond).await, CursorError::Diverged { position: 4 });
}
