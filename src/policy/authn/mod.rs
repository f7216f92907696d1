//! The authenticators, one file a method. Each answers Absent, Accept or Reject; none does I/O.

pub mod jwt;
