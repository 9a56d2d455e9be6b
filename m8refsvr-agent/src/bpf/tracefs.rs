//! The layout of classic tracepoints' records, from tracefs: it differs between kernels.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where tracefs is mounted by convention, the newer place first.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The record of one tracepoint.
pub struct Format(String);

impl Format {
    /// Reads the format of a tracepoint. `None` where there is no tracefs, no such tracepoint, or no right to
    /// read it.
    pub fn read(category: &str, name: &str) -> Option<Self> {
        let path = |root: &str| -> PathBuf {
            Path::new(root).join("events").join(category).join(name).join("format")
        };
        ROOTS.iter().find_map(|root| fs::read_to_string(path(root)).ok()).map(Self::new)
    }

    /// Takes the text of such a file.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Offset in bytes of a field.
    pub fn offset(&self, field: &str) -> Option<u32> {
        self.0.lines().find_map(|line| {
            let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
            // The declaration as in C, an array with its length behind the name.
            let declared = parts.next()?.rsplit(' ').next()?.split('[').next()?;
            (declared == field).then_some(())?;
            parts.find_map(|part| part.strip_prefix("offset:"))?.parse().ok()
        })
    }
}

/// Whether this process can read the formats of tracepoints.
pub fn can_read() -> bool {
    Format::read("sched", "sched_switch").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_offset_is_read_whatever_its_declaration_is() {
        let format = Format::new(
            "name: block_getrq\nID: 1\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
             \n\tfield:unsigned int nr_sector;\toffset:24;\tsize:4;\tsigned:0;\n\
             \tfield:char rwbs[8];\toffset:28;\tsize:8;\tsigned:1;\n\
             \tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;\n\nprint fmt: \"%d\", REC->rwbs\n"
                .into(),
        );
        assert_eq!(format.offset("nr_sector"), Some(24));
        assert_eq!(format.offset("rwbs"), Some(28));
        assert_eq!(format.offset("prev_state"), Some(32));
        assert_eq!(format.offset("sector"), None);
    }
}
