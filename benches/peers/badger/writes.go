package main

// W1, W1b, W2, W2b, W3, W3b, D1.

import (
	"bytes"
	"fmt"
	"time"
)

func putsInOrder(t *task) error {
	return t.puts(inOrder(t.records))
}

func putsAtRandom(t *task) error {
	return t.puts(shuffled(t.records))
}

// Puts the first of these; thread t of n puts each n-th from the t-th on.
func (t *task) puts(order []uint32) error {
	order = order[:min(t.ops, len(order))]
	values := makeValues(t.valueLen)
	at := func(thread, i int) uint64 { return uint64(order[thread+i*t.threads]) }
	ofThread := make([]keys, t.threads)
	for thread := range ofThread {
		count := (len(order) - thread + t.threads - 1) / t.threads
		ofThread[thread] = makeKeys(count, func(i int) uint64 { return at(thread, i) })
	}
	return t.with(func(s *store) error {
		took, err := inThreads(t.threads, func(thread int) error {
			keys := ofThread[thread]
			for i := 0; i < keys.len(); i++ {
				if err := s.put(keys.at(i), values.of(at(thread, i), 0)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := rate("ops_per_s", len(order), took); err != nil {
			return err
		}
		return check(s, order, values)
	})
}

func putsInBatchesInOrder(t *task) error {
	return t.putsInBatches(inOrder(t.records))
}

func putsInBatchesAtRandom(t *task) error {
	return t.putsInBatches(shuffled(t.records))
}

func (t *task) putsInBatches(order []uint32) error {
	keys := keysOf(order)
	values := makeValues(t.valueLen)
	return t.with(func(s *store) error {
		start := time.Now()
		for first := 0; first < len(order); first += 100 {
			err := s.putBatch(min(100, len(order)-first), func(i int) (key, value []byte) {
				return keys.at(first + i), values.of(uint64(order[first+i]), 0)
			})
			if err != nil {
				return err
			}
		}
		if err := rate("ops_per_s", len(order), time.Since(start)); err != nil {
			return err
		}
		return check(s, order, values)
	})
}

// That the store has what it was given: a hundred of the records, byte by byte.
func check(s *store, order []uint32, values values) error {
	key := make([]byte, keyLen)
	for i := 0; i < len(order); i += (len(order) + 99) / 100 {
		record := uint64(order[i])
		putKey(key, record)
		if there, err := s.get(key, sameAs(values.of(record, 0), record)); err != nil {
			return err
		} else if !there {
			return fmt.Errorf("record %d, %s, is missing after it was put", record, key)
		}
	}
	return nil
}

func sameAs(expected []byte, record uint64) func([]byte) error {
	return func(value []byte) error {
		if !bytes.Equal(value, expected) {
			return fmt.Errorf("record %d is not what was put", record)
		}
		return nil
	}
}

// Deletes the third kind, and holds the count against a listing before and after.
func deleteKind(t *task) error {
	kind := kindPrefixes()[2]
	return t.with(func(s *store) error {
		there, err := s.keys(kind, touch)
		if err != nil {
			return err
		}
		start := time.Now()
		deleted, err := s.deleteKind(kind)
		took := time.Since(start)
		if err != nil {
			return err
		}
		left, err := s.keys(kind, touch)
		if err != nil {
			return err
		}
		if deleted != there || left != 0 {
			return fmt.Errorf("%d of %d deleted, %d left", deleted, there, left)
		}
		return figure("delete_ms", ms(took))
	})
}
