//! What to make of an ensemble's members, and in which order to restart them.

pub mod health;
pub mod members;
pub mod restart;
