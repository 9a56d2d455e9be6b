//! What the commands need from elsewhere: Debian's packages, programs of crates.io, PyPI and npm, and a toolchain.
//! What is not installed into the system is downloaded or built once, and stays in the cache.

pub(crate) mod apt;
pub(crate) mod c_libraries;
pub(crate) mod cache;
pub(crate) mod cargo_tools;
pub(crate) mod pip;
pub(crate) mod receivers;
pub(crate) mod runc;
pub(crate) mod suite;
pub(crate) mod toolchain;
pub(crate) mod unpacked;
pub(crate) mod zig;
