//! Machines with other kernels.

#![expect(dead_code, reason = "the command follows")]

pub(crate) mod kernels;
pub(crate) mod qemu;
