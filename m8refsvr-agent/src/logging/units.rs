//! Durations and sizes of memory in words.

use std::time::Duration;

/// A duration in its two largest units.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large} {large_unit}")
        } else {
            format!("{large} {large_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86400, "d", seconds / 3600 % 24, "h"),
    }
}

/// A size of memory in the largest unit of which it has at least one.
pub fn memory(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|&(_, bits)| bytes >> bits > 0) {
        Some((unit, bits)) => {
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_memory_have_units_for_people() {
        let time = |milliseconds| duration(Duration::from_millis(milliseconds));
        assert_eq!(
            [48, 12_340, 303_000, 3_600_000, 90_000_000].map(time),
            ["48 ms", "12.3 s", "5 min 3 s", "1 h", "1 d 1 h"]
        );
        assert_eq!([999, 1024, 1_572_864, 3 << 30].map(memory), ["999 B", "1.0 KiB", "1.5 MiB", "3.0 GiB"]);
    }
}
