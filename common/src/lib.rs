//! Lanekeeper.
#![no_std]
