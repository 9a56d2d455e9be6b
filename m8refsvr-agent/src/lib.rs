//! The agent of m8refsvr. Data flows one way:
//!
//! ```text
//! kernel programs ─► bpf ─┐
//!                         ├─► tracker ─► collector ─► metrics ─► export
//! /proc ──────────► proc ─┘   who         one sample   cumulative, named
//! ```
//!
//! # Layout
//!
//! - [`sys`]: thin wrappers over the system, and the only folder with unsafe code
//! - [`proc`]: what /proc has, below a root that is a parameter
//! - [`bpf`]: loads, attaches and reads the BPF programs
//! - [`model`]: plain data of one collection
//! - [`tracker`]: which processes are tracked
//! - [`collector`]: one collection of all tracked processes
//! - [`metrics`]: from samples to named metrics
//! - [`export`]: how results leave
//! - [`service`]: the loop that runs for months
//! - [`check`]: what the agent needs, tried one thing after the other
//! - [`config`] and [`cli`]: what the user's words mean, and the command line as clap sees it
//! - [`commands`]: what a user can start
//! - [`logging`]: the log, and text from outside

#![deny(unsafe_code)]
#![expect(missing_docs, reason = "a comment that only repeats the name of its item helps nobody")]

pub mod bpf;
pub mod check;
pub mod cli;
pub mod collector;
pub mod commands;
pub mod config;
pub mod export;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod proc;
pub mod service;
pub mod sys;
pub mod tracker;
