//! The publishers of this node by number. Numbers are never used again, so those that are gone must leave nothing.

use super::Handle;

/// Numbers whose publishers share an allocation.
const PAGE: usize = 256;

struct Page {
    handles: [Option<Handle>; PAGE],
    used: usize,
}

/// Publishers by number.
#[derive(Default)]
pub(super) struct Handles {
    // Without its last publisher a page is gone; 8 bytes for 256 numbers are left.
    pages: Vec<Option<Box<Page>>>,
    next: u32,
    len: usize,
}

fn place(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}

impl Handles {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a publisher under the next number; `None` if no number is left.
    pub(super) fn add(&mut self, handle: Handle) -> Option<u32> {
        let number = self.next;
        self.next = number.checked_add(1)?;
        let (page, at) = place(number);
        if page == self.pages.len() {
            self.pages.push(None);
        }
        let page = self.pages[page].get_or_insert_with(|| {
            Box::new(Page {
                handles: [const { None }; PAGE],
                used: 0,
            })
        });
        page.handles[at] = Some(handle);
        page.used += 1;
        self.len += 1;
        Some(number)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Handle> {
        let (page, at) = place(number);
        self.pages.get(page)?.as_ref()?.handles[at].as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Handle> {
        let (page, at) = place(number);
        self.pages.get_mut(page)?.as_mut()?.handles[at].as_mut()
    }

    /// Drops a publisher.
    pub(super) fn remove(&mut self, number: u32) {
        let (at_page, at) = place(number);
        let Some(Some(page)) = self.pages.get_mut(at_page) else {
            return;
        };
        if page.handles[at].take().is_none() {
            return;
        }
        page.used -= 1;
        self.len -= 1;
        // The page of the next number stays: it is used at once.
        if page.used == 0 && place(self.next).0 != at_page {
            self.pages[at_page] = None;
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Handle> {
        let pages = self.pages.iter_mut().flatten();
        pages.flat_map(|page| page.handles.iter_mut().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_and_what_is_gone_leaves_no_page() {
        let mut handles = Handles::default();
        for n in 0..10 * PAGE as u32 {
            assert_eq!(handles.add(Handle::new("t")), Some(n));
            if n > 0 {
                handles.remove(n);
                handles.remove(n);
            }
        }
        assert_eq!((handles.len(), handles.iter_mut().count()), (1, 1));
        assert!(handles.get(0).is_some() && handles.get_mut(1).is_none());
        assert!(handles.get(u32::MAX).is_none());
        assert_eq!(handles.pages.iter().flatten().count(), 1);
    }
}
