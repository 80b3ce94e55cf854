//! A service's rollout: what its replicas are brought to, how far that is, and who is next.
//!
//! ```text
//!  newest record ─► Course ─► steer: orders, deadlines, batches ─► its next state
//!                                │                                    │
//!  replicas ─► Survey ───────────┘        turn: who may be updated ◄──┘   ─► change, seat: their documents
//! ```
//!
//! The record (`/services/<svc>/rollouts/<seq>`) says all that has to be known to go on: any leader can, at any point.
//! It is written in one transaction with what it speaks of.

mod advance;
mod course;
mod record;
mod steer;
mod survey;
mod transition;
mod turn;

pub(super) use self::{
    course::{Course, Goal, goal_of},
    steer::{Steering, is_under_way},
    survey::Survey,
};
