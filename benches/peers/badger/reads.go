package main

// R1, R1z and R2, each with one thread or two, R3, R3b, R3c.

import (
	"fmt"
	"time"
)

func uniformGets(t *task) error {
	return t.gets(1, uniformPick(t.records), true)
}

func zipfianGets(t *task) error {
	return t.gets(2, zipfianPick(t.records), true)
}

// Gets what is missing, beside what is there.
func missingGets(t *task) error {
	return t.gets(3, uniformPick(t.records), false)
}

func (t *task) gets(salt int, pick pick, there bool) error {
	ofThread := make([]keys, t.threads)
	for thread := range ofThread {
		random := newStream(salt, thread)
		keys := makeKeys(t.ops/t.threads, func(i int) uint64 { return pick(random.at(i)) })
		if !there {
			keys.makeMissing()
		}
		ofThread[thread] = keys
	}
	return t.withWarm(func(s *store) error {
		took, err := inThreads(t.threads, func(thread int) error {
			keys := ofThread[thread]
			for i := 0; i < keys.len(); i++ {
				found, err := s.get(keys.at(i), touch)
				if err != nil {
					return err
				}
				if found != there {
					return fmt.Errorf("%s: found: %t, expected: %t", keys.at(i), found, there)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return rate("ops_per_s", t.ops, took)
	})
}

func listValues(t *task) error {
	return t.lists(func(s *store, kind []byte) (int, error) { return s.scan(kind, all, touch) })
}

func listKeys(t *task) error {
	return t.lists(func(s *store, kind []byte) (int, error) { return s.keys(kind, touch) })
}

// All kinds, one after the other, until as many records as the store has, and at least 100,000,
// were listed.
func (t *task) lists(list func(s *store, kind []byte) (int, error)) error {
	return t.withWarm(func(s *store) error {
		kinds, listed := kindPrefixes(), 0
		start := time.Now()
		for done := 0; done < 100_000; done += t.records {
			for _, kind := range kinds {
				count, err := list(s, kind)
				if err != nil {
					return err
				}
				listed += count
			}
		}
		took := time.Since(start)
		if listed%t.records != 0 {
			return fmt.Errorf("%d records were listed of a store with %d", listed, t.records)
		}
		return rate("records_per_s", listed, took)
	})
}

func shortScans(t *task) error {
	pick, random := uniformPick(t.records), newStream(4, 0)
	keys := makeKeys(t.ops, func(i int) uint64 { return pick(random.at(i)) })
	return t.withWarm(func(s *store) error {
		start := time.Now()
		for i := 0; i < keys.len(); i++ {
			if _, err := s.scan(keys.at(i), 100, touch); err != nil {
				return err
			}
		}
		return rate("scans_per_s", t.ops, time.Since(start))
	})
}
