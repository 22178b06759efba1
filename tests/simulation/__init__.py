"""Runs in virtual time: a loop whose clock jumps, and fake servers that live by it."""
