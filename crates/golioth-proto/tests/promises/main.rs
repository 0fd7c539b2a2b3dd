//! What the crate promises, seen from outside. One binary, one file a payload.
//!
//! Every module is `cfg(test)`, though all of this binary is: it is how clippy knows that helpers may panic too.

#[cfg(test)]
mod columns;
#[cfg(test)]
mod columns_properties;
#[cfg(test)]
mod common;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod rows_properties;
#[cfg(test)]
mod services;
#[cfg(test)]
mod state_report;
#[cfg(test)]
mod wire_cost;
