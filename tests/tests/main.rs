//! The end-to-end tests, in one binary.
//!
//! - [`architecture`]: what ARCHITECTURE.md promises about the code;
//! - [`crash`]: a process killed, or a step failed, at every fault point and at random moments;
//! - [`kafka`]: the same from and to a real Kafka;
//! - [`topics`]: the same from a topic into a table and into files;
//! - [`broken`]: full disks, unwritable folders, damaged checkpoints, a second process;
//! - [`full_broker`]: a broker whose disk is full;
//! - [`bad_rows`]: rows that cannot be decoded;
//! - [`bad_input`]: messages of every bad kind, and servers that refuse;
//! - [`dead_letters`]: bad rows of every stage in a topic;
//! - [`postgres`]: the same crashes with rows that go into a real Postgres, which is restarted, too;
//! - [`plugins`]: the same with source, transform and sink out of libraries;
//! - [`split`]: several tasks, and another number of them after each crash;
//! - [`tables`]: every built-in by way of its own table of the plugin interface.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bad_rows;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod full_broker;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod plugins;
mod postgres;
#[cfg(test)]
mod split;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod topics;
