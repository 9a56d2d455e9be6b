//! The resource of the agent: the attributes that identify the sender.

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::{common::v1, resource::v1::Resource as ResourceMessage};
use percent_encoding::percent_decode_str;
use thiserror::Error;
use uuid::{Uuid, uuid};

use crate::proc::system::Host;

/// The UUID namespace of the semantic conventions for `service.instance.id`.
const INSTANCES: Uuid = uuid!("4d63009a-8d0f-11ee-aad7-4c796ed8e320");
const SERVICE: &str = "m8refsvr";

/// An entry of `OTEL_RESOURCE_ATTRIBUTES` is not an attribute.
#[derive(Debug, Error)]
#[error(
    "OTEL_RESOURCE_ATTRIBUTES: {0:?} is not an attribute: give name=value,name=value, percent-encoded where needed"
)]
pub struct NoAttribute(String);

/// Attributes of the resource. Each name occurs once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Vec<(String, String)>);

impl Resource {
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn for_sdk(&self) -> opentelemetry_sdk::Resource {
        let attributes = self.0.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        opentelemetry_sdk::Resource::builder_empty().with_attributes(attributes).build()
    }

    /// As a message. Attributes in `more` replace those of the same name.
    pub(crate) fn message(&self, more: Vec<v1::KeyValue>) -> ResourceMessage {
        let own = self.0.iter().filter(|(name, _)| more.iter().all(|other| other.key != *name));
        let mut attributes: Vec<v1::KeyValue> = own.map(|(name, value)| text(name, value)).collect();
        attributes.extend(more);
        ResourceMessage { attributes, ..ResourceMessage::default() }
    }
}

/// The user's settings of resource attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'a> {
    /// In the format of `OTEL_RESOURCE_ATTRIBUTES`.
    pub attributes: Option<&'a str>,
    /// From `OTEL_SERVICE_NAME`; takes precedence over `attributes`.
    pub service_name: Option<&'a str>,
    /// From `--instance`; takes precedence over `attributes`.
    pub instance: Option<&'a str>,
}

/// The attributes of the agent and its machine. `overrides` replace those of the same name. `patterns` are those that
/// select the processes.
pub fn resource(host: &Host, patterns: &[String], overrides: Overrides<'_>) -> Result<Resource, NoAttribute> {
    let mut all: Vec<(String, String)> = vec![
        ("service.name".into(), SERVICE.into()),
        ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
        ("service.instance.id".into(), instance(host, patterns).to_string()),
        ("host.name".into(), host.name.clone()),
        ("os.type".into(), "linux".into()),
    ];
    all.extend(host.id.clone().map(|id| ("host.id".to_owned(), id)));
    let of_user =
        overrides.attributes.unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty());
    for attribute in of_user {
        let decoded = |part: &str| percent_decode_str(part.trim()).decode_utf8().map(String::from).ok();
        let pair = attribute.split_once('=').and_then(|(name, value)| {
            Some((decoded(name).filter(|name| !name.is_empty())?, decoded(value)?))
        });
        let (name, value) = pair.ok_or_else(|| NoAttribute(attribute.into()))?;
        set(&mut all, name, value);
    }
    if let Some(service_name) = overrides.service_name {
        set(&mut all, "service.name".into(), service_name.into());
    }
    if let Some(name) = overrides.instance {
        set(&mut all, "service.instance.id".into(), name.into());
    }
    Ok(Resource(all))
}

/// A string attribute of a message.
pub(super) fn text(name: &str, value: &str) -> v1::KeyValue {
    attribute(name, v1::any_value::Value::StringValue(value.into()))
}

/// An integer attribute of a message.
pub(super) fn int(name: &str, value: i64) -> v1::KeyValue {
    attribute(name, v1::any_value::Value::IntValue(value))
}

fn attribute(name: &str, value: v1::any_value::Value) -> v1::KeyValue {
    let value = Some(v1::AnyValue { value: Some(value) });
    v1::KeyValue { key: name.into(), value, ..v1::KeyValue::default() }
}

fn set(all: &mut Vec<(String, String)>, name: String, value: String) {
    match all.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => all.push((name, value)),
    }
}

/// The ID of this agent. It depends on the machine and the patterns only, so that agents with different patterns on one
/// host have different IDs.
fn instance(host: &Host, patterns: &[String]) -> Uuid {
    let lines = [machine(host)].into_iter().chain(patterns.iter().map(String::as_str));
    Uuid::new_v5(&INSTANCES, lines.collect::<Vec<_>>().join("\n").as_bytes())
}

fn machine(host: &Host) -> &str {
    host.id.as_ref().unwrap_or(&host.name)
}

/// A number that is evenly spread over all hosts and never changes on one machine.
pub fn number(host: &Host) -> u32 {
    // These bits come from the hash alone: the UUID's version and variant are in other fields.
    Uuid::new_v5(&INSTANCES, machine(host).as_bytes()).as_fields().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(given: Option<&str>, service_name: Option<&str>) -> Vec<(String, String)> {
        let host = Host { name: "box".into(), id: Some("0123".into()) };
        let overrides = Overrides { attributes: given, service_name, instance: None };
        resource(&host, &["M8RefSvr".into()], overrides).unwrap().0
    }

    fn get(attributes: &[(String, String)], name: &str) -> String {
        let found: Vec<_> = attributes.iter().filter(|(key, _)| key == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0].1.clone()
    }

    #[test]
    fn the_machine_and_the_service_are_named_and_the_instance_stays_the_same() {
        let own = attributes(None, None);
        assert_eq!(get(&own, "service.name"), "m8refsvr");
        assert_eq!(get(&own, "host.name"), "box");
        assert_eq!(get(&own, "host.id"), "0123");
        assert_eq!(get(&own, "os.type"), "linux");
        assert_eq!(own, attributes(Some(" "), None));
        // From Python: `uuid5(UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320"), "0123\nM8RefSvr")`.
        assert_eq!(get(&own, "service.instance.id"), "3a43cc40-25f5-5de4-a84b-a15b22e6eef1");
    }

    #[test]
    fn agents_with_different_selections_on_a_host_are_different_instances() {
        let host = Host { name: "box".into(), id: Some("0123".into()) };
        let instance_of = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            get(&resource(&host, &patterns, Overrides::default()).unwrap().0, "service.instance.id")
        };
        assert_eq!(instance_of(&["a"]), instance_of(&["a"]));
        let all = [instance_of(&["a"]), instance_of(&["b"]), instance_of(&["a", "b"]), instance_of(&["ab"])];
        assert_eq!(std::collections::HashSet::from(all).len(), 4);
    }

    #[test]
    fn the_numbers_of_many_hosts_are_evenly_spread() {
        let mut fifteenths = [0; 15];
        for host in 0..10_000 {
            let host = Host { name: format!("host-{host}"), id: Some(format!("{host:032x}")) };
            fifteenths[((u64::from(number(&host)) * 15) >> 32) as usize] += 1;
        }
        assert!(fifteenths.iter().all(|hosts| (560..780).contains(hosts)), "{fifteenths:?}");
    }

    #[test]
    fn what_the_user_says_wins() {
        let given = attributes(Some("service.name=a, host.name=my%20box,team=x%2Cy,"), None);
        assert_eq!(get(&given, "service.name"), "a");
        assert_eq!(get(&given, "host.name"), "my box");
        assert_eq!(get(&given, "team"), "x,y");
        assert_eq!(get(&attributes(Some("service.name=a"), Some("b")), "service.name"), "b");
        let host = Host { name: "box".into(), id: None };
        let named = resource(
            &host,
            &[],
            Overrides {
                attributes: Some("service.instance.id=a"),
                instance: Some("b"),
                ..Overrides::default()
            },
        )
        .unwrap();
        assert_eq!(get(&named.0, "service.instance.id"), "b");
    }

    #[test]
    fn both_forms_have_each_attribute_once_and_those_of_a_process_win() {
        let host = Host { name: "box".into(), id: None };
        let own = resource(
            &host,
            &[],
            Overrides { attributes: Some("process.owner=a,team=x"), ..Overrides::default() },
        )
        .unwrap();
        let message = own.message(vec![text("process.owner", "b"), int("process.pid", 7)]);
        let owners: Vec<_> = message.attributes.iter().filter(|it| it.key == "process.owner").collect();
        assert_eq!(owners, [&text("process.owner", "b")]);
        assert!(message.attributes.contains(&text("team", "x")));
        assert_eq!(own.for_sdk().len(), own.0.len());
    }

    #[test]
    fn nonsense_is_named() {
        let host = Host { name: "box".into(), id: None };
        for nonsense in ["a", "=b", "a=%ff"] {
            let error =
                resource(&host, &[], Overrides { attributes: Some(nonsense), ..Overrides::default() })
                    .unwrap_err()
                    .to_string();
            assert!(error.contains("OTEL_RESOURCE_ATTRIBUTES") && error.contains(nonsense), "{error}");
        }
    }
}
