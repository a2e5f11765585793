//! The engine from outside: against the model, on failing disks, over its life.

mod any_fault;
mod backup;
mod backup_faults;
mod cardinality;
mod checked;
mod cold;
mod cold_limits;
mod deletes;
mod faults;
mod file_kinds;
mod fixture;
mod flips;
mod full;
mod gone_back;
mod interval;
mod life;
mod lifetime;
mod memory;
mod model_check;
mod races;
mod raw_gone;
mod recognised;
mod replay;
mod series_limits;
mod space;
mod support;
