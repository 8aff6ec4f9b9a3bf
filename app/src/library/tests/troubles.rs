//! Damage, other versions, full disks, and what the keeper makes of them.
