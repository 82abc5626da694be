//! Models over HTTP: the refund desk's real loop against servers that speak as providers do, with everything that goes wrong there.

mod cases;
mod cassettes;
mod demo;
mod end_to_end;
mod faults;
mod routes;
mod support;
