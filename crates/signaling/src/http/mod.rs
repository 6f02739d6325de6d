//! The HTTP interface of the rooms. Handlers only translate; decisions are made in [`crate::state`] and in the `room`
//! crate.

pub(crate) mod api;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod events;
pub(crate) mod gate;
pub(crate) mod host;
pub(crate) mod kinds;
pub(crate) mod offer;
pub(crate) mod openapi;
pub(crate) mod ops;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod problem;
pub(crate) mod resource;
pub(crate) mod router;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod v1;
pub(crate) mod whep;
pub(crate) mod whip;
