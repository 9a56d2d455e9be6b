//! What the BPF programs and the agent share, and nothing else: the records in the maps, the numbering of
//! slots, and the decisions that both sides must take alike. Knows neither aya nor the operating system.

#![no_std]
#![forbid(unsafe_code)]

pub mod accounting;
pub mod block_op;
pub mod comm;
pub mod context_switch;
pub mod member;
pub mod offsets;
pub mod record;
pub mod signal;
pub mod slot;
mod table;
