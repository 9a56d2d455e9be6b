//! The agent of m8refsvr. Data flows one way: `kernel` and `proc` → `sample` → `ledger` → `report` → `export`;
//! `commands` drives it.

#![deny(unsafe_code)]

pub mod absence;
pub mod boot;
mod bounds;
pub mod catalogue;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod ends;
pub mod episode;
pub mod exit;
pub mod export;
pub mod figures;
pub mod headroom;
pub mod kernel;
pub mod ledger;
pub mod listing;
pub mod logging;
pub mod manager;
pub mod model;
pub mod observer;
pub mod own;
pub mod privileges;
pub mod proc;
pub mod report;
mod rest;
mod room;
pub mod roster;
pub mod sample;
pub mod selector;
pub mod service;
pub mod settings;
pub mod shown;
pub mod source;
mod storage;
pub mod told;
pub mod totals;
pub mod turnover;
