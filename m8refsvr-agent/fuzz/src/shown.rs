//! What is shown of texts from outside.

use m8refsvr_agent::logging::escape::{in_json, in_line};

pub(crate) fn shown(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let line = in_line(&text);
    let turns = |character| ('\u{2028}'..='\u{202e}').contains(&character) || character == '\u{2066}';
    let is_harmless = |shown: &str| !shown.chars().any(|it| it.is_control() || turns(it));
    assert!(is_harmless(&line), "{line:?}");
    assert!(line.len() >= text.len().min(1) && line.len() <= 6 * text.len());
    assert_eq!(in_line(&line), line);

    let json = serde_json::to_string(&*text).expect("a text is JSON");
    let shown = in_json(&json);
    assert!(is_harmless(&shown), "{shown:?}");
    assert_eq!(serde_json::from_str::<String>(&shown).expect("it is still JSON"), text);
}
