//! What the operator writes, validated once, as typed values nobody checks again.

mod model;
mod secret;
mod topic;

pub use model::*;
pub use secret::Secret;
pub use topic::{TopicTemplate, TopicValues, TopicVariable};
