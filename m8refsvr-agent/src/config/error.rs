//! Why settings are refused. Each error names the flag or variable, and says what would be right.

use thiserror::Error;

use crate::{
    export::otlp::{NoAttribute, ProxyError},
    tracker::selector::SelectorError,
};

/// Why the settings that all commands share are refused.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A name or regular expression of processes.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The value of a variable can't be parsed.
    #[error("{name}: {reason}")]
    Variable {
        /// The name of the variable.
        name: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// Why the settings of exports are refused.
#[derive(Debug, Error)]
pub enum ExportSettingsError {
    /// Two settings name the receiver.
    #[error("--endpoint and --agent-host or --agent-port exclude each other: give one of them")]
    TwoPlaces,
    /// The endpoint is not a URL of a receiver.
    #[error("{setting}: {url:?} is no endpoint: {reason}; give {right}")]
    Endpoint {
        /// The flag or variable.
        setting: String,
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
        /// What is wrong, and what would be right.
        right: String,
    },
    /// The host of the Instana agent is not a host.
    #[error("{setting}: {host:?} is no host: {reason}")]
    AgentHost {
        /// The flag or variable.
        setting: String,
        /// As given.
        host: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The endpoint is https, and another setting forbids TLS.
    #[error("{setting}: {url:?} is reached by TLS, but {tls} forbids it: take one of them back")]
    TlsForbidden {
        /// The flag or variable of the endpoint.
        setting: String,
        /// As given.
        url: String,
        /// The flag or variable that forbids TLS.
        tls: String,
    },
    /// Only one of the client certificate and its key is given.
    #[error("{given} is given without {missing}: mutual TLS needs both")]
    HalfPair {
        /// The flag or variable that is set.
        given: String,
        /// The flag or variable that is missing.
        missing: String,
    },
    /// The value of a variable can't be parsed.
    #[error("{name}: {reason}")]
    Variable {
        /// The name of the variable.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The attributes of the resource can't be parsed.
    #[error(transparent)]
    Attribute(#[from] NoAttribute),
    /// The proxy that the environment names can't be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}
