package main

import (
	"container/heap"
	"time"
)

// event is something that happens at a time.
type event struct {
	at time.Duration
	do func()
	// A subscriber's next attempt is the event that there are millions of: it
	// needs no function of its own.
	attempt int32
}

// queue orders events by time.
type queue struct{ heap []event }

func (q *queue) Len() int           { return len(q.heap) }
func (q *queue) Less(i, j int) bool { return q.heap[i].at < q.heap[j].at }
func (q *queue) Swap(i, j int)      { q.heap[i], q.heap[j] = q.heap[j], q.heap[i] }
func (q *queue) Push(e any)         { q.heap = append(q.heap, e.(event)) }
func (q *queue) Pop() any {
	e := q.heap[len(q.heap)-1]
	q.heap = q.heap[:len(q.heap)-1]
	return e
}

func (w *world) after(d time.Duration, do func()) { heap.Push(&w.due, event{at: w.now + d, do: do}) }

func (w *world) attemptAfter(d time.Duration, i int32) {
	heap.Push(&w.due, event{at: w.now + d, attempt: i})
}

// run lets happen what is due until a time.
func (w *world) run(until time.Duration) {
	for w.due.Len() > 0 && w.due.heap[0].at <= until {
		e := heap.Pop(&w.due).(event)
		w.now = e.at
		if e.do != nil {
			e.do()
		} else {
			w.attempt(e.attempt)
		}
	}
	w.now = until
}
