//! Decisions. Pure: no I/O, no clock, no randomness; time and everything seen come in as arguments, a plan with
//! a reason for each of its actions goes out.

pub mod agent;
pub mod controller;
pub mod ensemble;

mod relation;
