//! A service's rollout: what its replicas are brought to, how far that is, and who is next.
//!
//! ```text
//!  newest record ─► ActiveRollout ─► steer: orders, deadlines, batches ─► transition: its next state
//!                                       │                                    │
//!  replicas ─► RolloutProgress ─────────┘        turn: who may be updated ◄──┘   ─► change, assign: their documents
//! ```
//!
//! The record (`/services/<svc>/rollouts/<seq>`) says all that has to be known to go on: any leader can, at any point.
//! It is written in one transaction with what it speaks of.

mod active_rollout;
mod advance;
mod progress;
mod record;
mod steer;
mod transition;
mod turn;

pub(super) use self::{
    active_rollout::{ActiveRollout, Goal, goal_of},
    progress::RolloutProgress,
    steer::{Steering, is_under_way},
};
