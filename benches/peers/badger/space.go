package main

// S1, MEM, CP.

import (
	"fmt"
	"time"
)

// Puts all of these, in batches of 100.
func putOrder(s *store, order []uint32, version int, values values) error {
	// A commit that has returned keeps no key, so all batches can use the same.
	keys := makeKeys(100, func(int) uint64 { return 0 })
	for first := 0; first < len(order); first += 100 {
		batch := order[first:min(first+100, len(order))]
		err := s.putBatch(len(batch), func(i int) (key, value []byte) {
			putKey(keys.at(i), uint64(batch[i]))
			return keys.at(i), values.of(uint64(batch[i]), version)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Puts all records, at random.
func (t *task) load(s *store, values values) error {
	if err := putOrder(s, shuffled(t.records), 0, values); err != nil {
		return err
	}
	return s.flush()
}

// Bytes on disk for each byte of key and value: loaded; after some puts for each record, and idle;
// compacted.
func onDisk(t *task) error {
	values := makeValues(t.valueLen)
	return t.with(func(s *store) error {
		if err := t.load(s, values); err != nil {
			return err
		}
		if err := t.settled("loaded_ratio", t.settle/8); err != nil {
			return err
		}
		random := newStream(11, 0)
		order := outsideHeap[uint32](t.records)
		for version := 0; version < t.ops/t.records; version++ {
			for i := range order {
				order[i] = uint32(random.record(version*t.records+i, t.records))
			}
			if err := putOrder(s, order, version+1, values); err != nil {
				return err
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
		if err := t.settled("overwritten_ratio", t.settle); err != nil {
			return err
		}
		// Twice: what is dead in the value log is counted in memory only, and what was put last gets
		// into tables by a close.
		if err := s.compact(); err != nil {
			return err
		}
		if err := s.reopen(); err != nil {
			return err
		}
		if err := s.compact(); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		return t.settled("compacted_ratio", t.settle/8)
	})
}

// Waits until nothing has changed on disk for a while, but not for ever.
func (t *task) settled(metric string, settle time.Duration) error {
	const longest = 60 * time.Second
	start := time.Now()
	size, err := bytesOnDisk(t.dir)
	since := time.Now()
	for err == nil && time.Since(since) < settle && time.Since(start) < longest {
		time.Sleep(50 * time.Millisecond)
		var now int64
		if now, err = bytesOnDisk(t.dir); now != size {
			size, since = now, time.Now()
		}
	}
	if err != nil {
		return fmt.Errorf("counting the blocks below %s: %w", t.dir, err)
	}
	return figure(metric, float64(size)/float64(t.records*(keyLen+t.valueLen)))
}

// The most memory that loading takes, beyond what this program itself has.
func memoryOfLoading(t *task) error {
	order := shuffled(t.records)
	keys := keysOf(order)
	values := makeValues(t.valueLen)
	before, err := memoryNow()
	if err != nil {
		return err
	}
	return t.with(func(s *store) error {
		peak, err := peakMemory(func() error {
			for i, record := range order {
				if err := s.put(keys.at(i), values.of(uint64(record), 0)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after, err := memoryNow()
		if err != nil {
			return err
		}
		mib := func(now, before uint64) float64 { return grown(now, before) / (1 << 20) }
		for _, line := range []struct {
			metric string
			value  float64
		}{
			{"peak_heap_mib", mib(peak.anonymous, before.anonymous)},
			{"peak_resident_mib", mib(peak.resident, before.resident)},
			{"loaded_heap_mib", mib(after.anonymous, before.anonymous)},
		} {
			if err := figure(line.metric, line.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func grown(now, before uint64) float64 {
	if now < before {
		return 0
	}
	return float64(now - before)
}

func ms(took time.Duration) float64 {
	return took.Seconds() * 1e3
}

func compacting(t *task) error {
	return t.with(func(s *store) error {
		start := time.Now()
		if err := s.compact(); err != nil {
			return err
		}
		return figure("compact_ms", ms(time.Since(start)))
	})
}
