//! Tests of the server as a whole, against scripted clients in simulated time.

mod behaviour;
mod corpus;
mod simulation;
