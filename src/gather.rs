//! Iterators into maps and sets without a sort.
//!
//! The library's `collect` into a `BTreeMap` makes a list first and sorts it, and a sort of one more type is 4 kB of program: a
//! sixtieth of a megabyte for a map of five entries. What is gathered here goes in one by one.

/// What every iterator can do besides.
pub(crate) trait Gather: Iterator + Sized {
    /// All items, each inserted as it comes: of two under one key the later stays, as with `collect`.
    fn gathered<C: Default + Extend<Self::Item>>(self) -> C {
        let mut all = C::default();
        all.extend(self);
        all
    }

    /// The same, up to the first error.
    ///
    /// # Errors
    /// That error.
    fn try_gathered<T, E, C: Default + Extend<T>>(mut self) -> Result<C, E>
    where
        Self: Iterator<Item = Result<T, E>>,
    {
        self.try_fold(C::default(), |mut all, item| {
            all.extend(Some(item?));
            Ok(all)
        })
    }
}

impl<I: Iterator> Gather for I {}

/// What `is_first` says stands in front, everything else behind, both in their order.
pub(crate) fn in_front<T>(items: Vec<T>, is_first: impl FnMut(&T) -> bool) -> Vec<T> {
    let (mut front, behind): (Vec<T>, Vec<T>) = items.into_iter().partition(is_first);
    front.extend(behind);
    front
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn what_is_gathered_is_what_would_have_been_collected() {
        let pairs = [(3, 'c'), (1, 'a'), (3, 'd'), (2, 'b')];
        let collected: BTreeMap<i32, char> = pairs.into_iter().collect();
        assert_eq!(pairs.into_iter().gathered::<BTreeMap<_, _>>(), collected);
        let sound: Result<BTreeMap<i32, char>, ()> = pairs.into_iter().map(Ok).try_gathered();
        assert_eq!(sound, Ok(collected));
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut asked = 0;
        let numbers = [Ok(1), Err("broken"), Ok(2)].into_iter().inspect(|_| asked += 1);
        assert_eq!(numbers.try_gathered::<_, _, BTreeSet<i32>>(), Err("broken"));
        assert_eq!(asked, 2);
    }

    #[test]
    fn those_in_front_and_those_behind_keep_their_order() {
        assert_eq!(in_front(vec![1, 2, 3, 4, 5], |n| n % 2 == 0), [2, 4, 1, 3, 5]);
    }
}
