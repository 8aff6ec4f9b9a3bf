//! The order of jobs: what runs next, what sleeps, what may be moved.

use super::protocol::{JobId, Place};

/// A queue of jobs with their contents `T`.
///
/// Jobs run one after another in their order; a job asleep is passed over and keeps its place.
#[derive(Debug)]
pub struct Queue<T> {
    entries: Vec<Entry<T>>,
    all_paused: bool,
}

#[derive(Debug)]
struct Entry<T> {
    job: JobId,
    paused: bool,
    content: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            all_paused: false,
        }
    }
}

impl<T> Queue<T> {
    /// Puts a job in and returns how many are before it; `None` if the number is in use.
    pub fn insert(&mut self, job: JobId, content: T, place: Place) -> Option<usize> {
        if self.contains(job) {
            return None;
        }
        let index = match place {
            Place::Back => self.entries.len(),
            Place::Front => 0,
        };
        self.entries.insert(
            index,
            Entry {
                job,
                paused: false,
                content,
            },
        );
        Some(index)
    }

    /// Whether a job is here.
    pub fn contains(&self, job: JobId) -> bool {
        self.entries.iter().any(|entry| entry.job == job)
    }

    /// Takes a job out.
    pub fn remove(&mut self, job: JobId) -> Option<T> {
        let index = self.entries.iter().position(|entry| entry.job == job)?;
        Some(self.entries.remove(index).content)
    }

    /// Moves a job to an index (clamped to the end). Returns whether it is here.
    pub fn move_to(&mut self, job: JobId, to: usize) -> bool {
        let Some(index) = self.entries.iter().position(|entry| entry.job == job) else {
            return false;
        };
        let entry = self.entries.remove(index);
        self.entries.insert(to.min(self.entries.len()), entry);
        true
    }

    /// Puts a job to sleep or wakes it. Returns whether that changed anything.
    pub fn set_paused(&mut self, job: JobId, paused: bool) -> bool {
        match self.entries.iter_mut().find(|entry| entry.job == job) {
            Some(entry) if entry.paused != paused => {
                entry.paused = paused;
                true
            }
            _ => false,
        }
    }

    /// Stops or releases the whole queue.
    pub fn set_all_paused(&mut self, paused: bool) {
        self.all_paused = paused;
    }

    /// The first awake job with a property, if the queue may run.
    pub fn next_where(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Option<JobId> {
        if self.all_paused {
            return None;
        }
        self.entries
            .iter()
            .find(|entry| !entry.paused && wanted(&entry.content))
            .map(|entry| entry.job)
    }

    /// A job's contents.
    pub fn get_mut(&mut self, job: JobId) -> Option<&mut T> {
        self.entries
            .iter_mut()
            .find(|entry| entry.job == job)
            .map(|entry| &mut entry.content)
    }

    /// All jobs in their order.
    pub fn order(&self) -> Vec<JobId> {
        self.entries.iter().map(|entry| entry.job).collect()
    }

    /// The awake jobs in their order with their contents, if the queue may run.
    pub fn awake_mut(&mut self) -> impl Iterator<Item = (JobId, &mut T)> {
        let stopped = self.all_paused;
        self.entries
            .iter_mut()
            .filter(move |entry| !stopped && !entry.paused)
            .map(|entry| (entry.job, &mut entry.content))
    }

    /// All contents, to look at.
    pub fn contents(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.content)
    }

    /// All contents.
    pub fn contents_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|entry| &mut entry.content)
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> Vec<(JobId, T)> {
        self.entries
            .drain(..)
            .map(|entry| (entry.job, entry.content))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(jobs: &[u64]) -> Queue<u64> {
        let mut queue = Queue::default();
        for &job in jobs {
            queue.insert(JobId(job), job, Place::Back);
        }
        queue
    }

    #[test]
    fn order_front_and_moves() {
        let mut queue = queue(&[1, 2, 3]);
        assert_eq!(queue.insert(JobId(4), 4, Place::Front), Some(0));
        assert_eq!(queue.insert(JobId(4), 4, Place::Back), None);
        assert!(queue.move_to(JobId(1), 99));
        assert!(queue.move_to(JobId(3), 0));
        assert!(!queue.move_to(JobId(9), 0));
        assert_eq!(queue.order(), [3, 4, 2, 1].map(JobId));
        assert_eq!(queue.remove(JobId(4)), Some(4));
        assert_eq!(queue.next_where(|_| true), Some(JobId(3)));
    }

    #[test]
    fn sleeping_jobs_keep_their_place() {
        let mut queue = queue(&[1, 2]);
        assert!(queue.set_paused(JobId(1), true));
        assert!(!queue.set_paused(JobId(1), true));
        assert_eq!(queue.next_where(|_| true), Some(JobId(2)));
        queue.set_all_paused(true);
        assert!(queue.next_where(|_| true).is_none());
        assert_eq!(queue.awake_mut().count(), 0);
        queue.set_all_paused(false);
        let awake: Vec<JobId> = queue.awake_mut().map(|(job, _)| job).collect();
        assert_eq!(awake, [JobId(2)]);
        queue.set_paused(JobId(1), false);
        assert_eq!(queue.next_where(|_| true), Some(JobId(1)));
    }
}
