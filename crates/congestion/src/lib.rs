//! Congestion control: transport-wide feedback, sans-IO.
