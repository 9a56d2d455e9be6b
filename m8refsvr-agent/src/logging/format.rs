//! How an event becomes a line. Names of processes and other text from outside are part of events, so each line is
//! escaped as a whole.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, Writer},
    },
    registry::LookupSpan,
};

use super::escape;

/// The sentence of an event. The agent's own fields have names with dots: they repeat values of the sentence, and are
/// part of the JSON form alone. Fields of libraries follow the sentence.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = Text::default();
        fields.record(&mut text);
        writer.write_str(&escape::in_line(&text.0))
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        if name.contains('.') {
            return;
        }
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // A string accepts everything.
        let _ = match name {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{}={value:?}", name.trim_start_matches("r#")),
        };
    }
}

/// A line that is not of the usual text.
pub(super) enum Line {
    /// A JSON object.
    Json(Format<Json>),
    /// For the journal, which adds the time itself: a priority in angle brackets comes first (`sd-daemon(3)`).
    Journal,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self {
            Self::Json(format) => {
                let mut text = String::new();
                format.format_event(context, Writer::new(&mut text), event)?;
                writer.write_str(&escape::in_json(&text))
            }
            Self::Journal => {
                let priority = match *event.metadata().level() {
                    Level::ERROR => 3,
                    Level::WARN => 4,
                    Level::INFO => 6,
                    Level::DEBUG | Level::TRACE => 7,
                };
                write!(writer, "<{priority}>")?;
                context.field_format().format_fields(writer.by_ref(), event)?;
                writeln!(writer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::format::JsonFields, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The line of one event, for the journal or as JSON.
    fn line(is_json: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = if is_json {
            let json = Line::Json(tracing_subscriber::fmt::format().json().flatten_event(true));
            Box::new(layer.fmt_fields(JsonFields::new()).event_format(json))
        } else {
            Box::new(layer.fmt_fields(TextFields).event_format(Line::Journal))
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(process.pid = 7, size = 3, name = "a b", "a\nb\x1b (pid {})", 7);
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_of_text_is_the_sentence_and_what_libraries_add_to_theirs() {
        assert_eq!(line(false), "<4>a\\nb\\u{1b} (pid 7) size=3 name=\"a b\"\n");
    }

    #[test]
    fn in_json_each_value_is_a_field() {
        let json: serde_json::Value = serde_json::from_str(&line(true)).unwrap();
        assert_eq!((&json["message"], &json["process.pid"]), (&"a\nb\x1b (pid 7)".into(), &7.into()));
    }
}
