package main

// The mixed loads, as YCSB has them: zipfian over all records.

import "fmt"

// What a thread does: keys, and whether they are read.
type plan struct {
	keys  keys
	reads []bool
}

// The record number of the i-th operation; asked in order.
type record func(i int, read bool) uint64

// So many in a hundred read.
func newPlan(ops int, random stream, percent int, record record) plan {
	reads := outsideHeap[bool](ops)
	for i := range reads {
		reads[i] = among(random.at(i), percent)
	}
	return plan{makeKeys(ops, func(i int) uint64 { return record(i, reads[i]) }), reads}
}

// What the i-th operation of a thread does, if it is a read.
type read func(s *store, i int, key []byte) error

// What it does if it is not.
type change func(s *store, key, value []byte) error

func get(s *store, _ int, key []byte) error {
	there, err := s.get(key, touch)
	if err == nil && !there {
		return fmt.Errorf("%s is missing", key)
	}
	return err
}

func scan(s *store, i int, from []byte) error {
	_, err := s.scan(from, 1+int(mix(uint64(i))%100), touch)
	return err
}

func put(s *store, key, value []byte) error {
	return s.put(key, value)
}

// Not atomic, as in YCSB.
func getAndPut(s *store, key, value []byte) error {
	if _, err := s.get(key, touch); err != nil {
		return err
	}
	return s.put(key, value)
}

// M1, M2, MC, M3: so many gets in a hundred, zipfian over all records.
func popular(salt, percent int, change change) func(*task) error {
	return func(t *task) error {
		pick := zipfianPick(t.records)
		plans := make([]plan, t.threads)
		for thread := range plans {
			random := newStream(salt, thread)
			record := func(i int, _ bool) uint64 { return pick(random.at(i)) }
			plans[thread] = newPlan(t.ops/t.threads, random, percent, record)
		}
		return t.mixed(plans, get, change)
	}
}

// MD: inserts records far behind the last, and gets the newest: the newest one most often.
func getsOfLatest(t *task) error {
	ranks, random := newZipfian(t.records), newStream(14, 0)
	inserted := 0
	only := newPlan(t.ops, random, 95, func(i int, read bool) uint64 {
		if !read {
			inserted++
			return uint64(2*t.records + inserted - 1)
		}
		// Behind the loaded ones, those that were inserted are numbered on.
		place := t.records + inserted - 1 - ranks.rank(random.at(i))
		if place >= t.records {
			place += t.records
		}
		return uint64(place)
	})
	return t.mixed([]plan{only}, get, put)
}

// ME: inserts records behind the last; scans begin at any record that was loaded.
func scansAndInserts(t *task) error {
	pick, random := zipfianPick(t.records), newStream(10, 0)
	only := newPlan(t.ops, random, 95, func(i int, read bool) uint64 {
		if read {
			return pick(random.at(i))
		}
		return uint64(t.records + i)
	})
	return t.mixed([]plan{only}, scan, put)
}

func (t *task) mixed(plans []plan, read read, change change) error {
	values := makeValues(t.valueLen)
	return t.withWarm(func(s *store) error {
		took, err := inThreads(len(plans), func(thread int) error {
			keys := plans[thread].keys
			for i, isRead := range plans[thread].reads {
				var err error
				if isRead {
					err = read(s, i, keys.at(i))
				} else {
					err = change(s, keys.at(i), values.of(uint64(i), thread+1))
				}
				if err != nil {
					return err
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
