//! The values of a process in the document, and how those of several processes are combined.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    model::{
        counters::{Counter, Totals},
        limit_utilization::Limit,
        sample::ProcessSample,
    },
    sys::boot_clock::seconds,
};

/// A value of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ThreadCount,
    OpenFiles,
    /// 100 = one CPU busy.
    CpuUsage,
    /// Percent of the machine's memory.
    MemoryUsage,
    MemoryRss,
    MemoryVms,
    /// CPU time in seconds, all other counters in their own unit.
    Counter(Counter),
    /// Used fraction of a limit.
    Limit(Limit),
}

impl Field {
    /// All fields, in the order of the document.
    fn all() -> impl Iterator<Item = Self> {
        let first = [
            Self::ThreadCount,
            Self::OpenFiles,
            Self::CpuUsage,
            Self::MemoryUsage,
            Self::MemoryRss,
            Self::MemoryVms,
        ];
        let counters = Counter::ALL.iter().copied().map(Self::Counter);
        first.into_iter().chain(counters).chain(Limit::ALL.map(Self::Limit))
    }

    fn key(self) -> &'static str {
        match self {
            Self::ThreadCount => "thread_count",
            Self::OpenFiles => "open_file_descriptors",
            Self::CpuUsage => "cpu_usage",
            Self::MemoryUsage => "memory_usage",
            Self::MemoryRss => "memory_rss",
            Self::MemoryVms => "memory_vms",
            Self::Counter(counter) => counter.key(),
            Self::Limit(Limit::OpenFiles) => "open_files_limit_usage",
            Self::Limit(Limit::UserProcesses) => "user_processes_limit_usage",
            Self::Limit(Limit::CgroupPids) => "cgroup_pids_limit_usage",
            Self::Limit(Limit::CgroupMemory) => "cgroup_memory_limit_usage",
        }
    }

    /// The number of significant decimal places; `None` for an integer.
    fn digits(self) -> Option<i32> {
        match self {
            Self::CpuUsage => Some(2),
            Self::MemoryUsage => Some(4),
            Self::Counter(counter) => counter.is_time().then_some(6),
            Self::Limit(_) => Some(6),
            Self::ThreadCount | Self::OpenFiles | Self::MemoryRss | Self::MemoryVms => None,
        }
    }

    /// Combines the values of two processes: the larger one for limits, otherwise the sum.
    fn combine(self, one: Number, other: Number) -> Number {
        match (self, one, other) {
            (Self::Limit(_), Number::Float(one), Number::Float(other)) => Number::Float(one.max(other)),
            (_, Number::Int(one), Number::Int(other)) => Number::Int(one.saturating_add(other)),
            (_, Number::Float(one), Number::Float(other)) => Number::Float(one + other),
            (_, one, _) => one,
        }
    }

    /// The value if there is no process: 0 of what is a sum. Limits and fractions are absent, and so is block I/O
    /// without a source.
    fn of_none(self, has_block_io: bool) -> Option<Number> {
        let is_absent = match self {
            Self::Limit(_) | Self::CpuUsage | Self::MemoryUsage => true,
            Self::Counter(counter) => counter.is_block_io() && !has_block_io,
            _ => false,
        };
        let zero = if self.digits().is_some() { Number::Float(0.0) } else { Number::Int(0) };
        (!is_absent).then_some(zero)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Number {
    Int(u64),
    Float(f64),
}

/// The values of one process, or of all together. What could not be read is left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Values(Vec<(Field, Number)>);

impl Values {
    /// Values of one process. `counters` has only those that the document shows.
    pub(super) fn of(
        process: &ProcessSample,
        counters: &Totals,
        cpu_usage: Option<f64>,
        memory_usage: Option<f64>,
    ) -> Self {
        let value = |field| match field {
            Field::ThreadCount => Some(Number::Int(process.threads)),
            Field::OpenFiles => process.open_files.map(Number::Int),
            Field::CpuUsage => cpu_usage.map(Number::Float),
            Field::MemoryUsage => memory_usage.map(Number::Float),
            Field::MemoryRss => process.resident_bytes.map(Number::Int),
            Field::MemoryVms => process.virtual_bytes.map(Number::Int),
            Field::Counter(counter) if counter.is_time() => {
                counters.get(counter).map(|time| Number::Float(seconds(time)))
            }
            Field::Counter(counter) => counters.get(counter).map(Number::Int),
            Field::Limit(limit) => process.limits_used.get(limit).map(Number::Float),
        };
        Self(Field::all().filter_map(|field| Some((field, shown(field, value(field)?)))).collect())
    }

    /// The values of all processes together. A value that no process has is absent. `is_blind` is whether /proc hides
    /// processes: then the values of no process are not known to be 0.
    pub(super) fn combined<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        has_block_io: bool,
        is_blind: bool,
    ) -> Self {
        let is_empty = all.clone().next().is_none();
        let combined = |field: Field| {
            let of_field = |values: &'a Self| values.0.iter().find(|value| value.0 == field);
            let values = all.clone().filter_map(of_field).map(|value| value.1);
            let combined = values.reduce(|one, other| field.combine(one, other));
            if is_empty && !is_blind { field.of_none(has_block_io) } else { combined }
        };
        Self(Field::all().filter_map(|field| Some((field, shown(field, combined(field)?)))).collect())
    }
}

/// Rounds a value to the significant digits of its field.
fn shown(field: Field, value: Number) -> Number {
    match (value, field.digits()) {
        (Number::Float(value), Some(digits)) => Number::Float(rounded(value, digits)),
        _ => value,
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value) in &self.0 {
            map.serialize_entry(field.key(), value)?;
        }
        map.end()
    }
}

/// Rounds to this many decimal places.
pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}
