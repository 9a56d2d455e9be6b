#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| m8refsvr_fuzz::run("proc_statm", data));
