//! What a receiver answers, or a proxy before it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use m8refsvr_agent::export::otlp::ExportError;

/// The status as a number of two bytes, a line with when to come back, a line with the kind of the body, and the body.
pub(crate) fn answer(data: &[u8]) {
    let Some((&[high, low], rest)) = data.split_first_chunk() else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes([high, low])) else { return };
    let mut lines = rest.splitn(3, |&byte| byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [http::header::RETRY_AFTER, http::header::CONTENT_TYPE] {
        insert(&mut headers, name, lines.next().unwrap_or_default());
    }
    let body = Bytes::copy_from_slice(lines.next().unwrap_or_default());
    let error = ExportError::of_response(status, &headers, &body);
    assert!(!error.is_of_connection());
    // As much as fits into a line, whatever came.
    let printed = error.to_string();
    assert!(printed.len() < 400 && !printed.chars().any(char::is_control), "{printed:?}");
    assert_eq!(error.kind(), status.as_str());
    assert!(error.after().is_none() || headers.contains_key(http::header::RETRY_AFTER));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}
