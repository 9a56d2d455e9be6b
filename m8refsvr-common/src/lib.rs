//! What the kernel programs and the agent share, and nothing else: the records in the maps, the numbering of
//! slots, and the decisions that both sides must take alike. Knows neither aya nor the operating system.

#![no_std]
#![forbid(unsafe_code)]

pub mod accounting;
pub mod block;
pub mod comm;
pub mod offsets;
pub mod record;
pub mod slot;
pub mod switch;
mod table;
