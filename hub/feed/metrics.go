package feed

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the feed's, in Prometheus' names and base units. None carries
// an identifier.
type Metrics struct {
	head            prometheus.Gauge
	operations      prometheus.Counter
	subscribers     prometheus.Gauge
	streams         *prometheus.CounterVec
	streamsEnded    *prometheus.CounterVec
	natsRequests    *prometheus.CounterVec
	ticksFailed     prometheus.Counter
	lastTick        prometheus.Gauge
	tickSeconds     prometheus.Histogram
	snapshotBytes   prometheus.Gauge
	snapshotSeconds prometheus.Histogram
	stateBytes      prometheus.Gauge
	stateSeq        prometheus.Gauge
	stateSeconds    prometheus.Histogram
	stateFailed     prometheus.Counter
	stateRefused    prometheus.Counter
}

// NewMetrics makes the metrics and registers them; with nil they count for
// nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		head:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "revocast_log_head_seq", Help: "Sequence number of the last record folded."}),
		operations: prometheus.NewCounter(prometheus.CounterOpts{Name: "revocast_operations_total", Help: "Operations folded since the start, those of the replay included."}),
		subscribers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_subscribers", Help: "Open feed streams."}),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_streams_total", Help: "Feed streams begun, by how."}, []string{"mode"}),
		streamsEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_streams_ended_total", Help: "Feed streams ended, by why."}, []string{"reason"}),
		natsRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_nats_requests_total", Help: "Requests of subscribers over NATS, by what they ask for and the code of the answer."}, []string{"request", "code"}),
		ticksFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "revocast_ticks_failed_total", Help: "Ticks that could not be written to the log."}),
		lastTick: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_last_tick_timestamp_seconds", Help: "When the latest tick was begun."}),
		tickSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocast_tick_duration_seconds", Help: "Time from beginning a tick to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2.5, 12)}),
		snapshotBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_snapshot_bytes", Help: "Size of the latest snapshot."}),
		snapshotSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocast_snapshot_build_duration_seconds", Help: "Time to build a snapshot.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10)}),
		stateBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_state_bytes", Help: "Size of the state file that was written last."}),
		stateSeq: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "revocast_state_seq", Help: "Sequence number that the state file was written at last."}),
		stateSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocast_state_write_duration_seconds", Help: "Time to write the state file.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12)}),
		stateFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "revocast_state_failures_total", Help: "State files that could not be written."}),
		stateRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "revocast_state_refused_total", Help: "State files that were not used at the start, because they did not fit the log."}),
	}
	if reg != nil {
		reg.MustRegister(m.head, m.operations, m.subscribers, m.streams, m.streamsEnded, m.natsRequests, m.ticksFailed,
			m.lastTick, m.tickSeconds, m.snapshotBytes, m.snapshotSeconds,
			m.stateBytes, m.stateSeq, m.stateSeconds, m.stateFailed, m.stateRefused)
	}
	return m
}

func (m *Metrics) folded(seq uint64, ops int) {
	m.head.Set(float64(seq))
	m.operations.Add(float64(ops))
}

func (m *Metrics) opened(mode string) { m.streams.WithLabelValues(mode).Inc() }
func (m *Metrics) closed(why string)  { m.streamsEnded.WithLabelValues(why).Inc() }

func (m *Metrics) answered(request string, code int) {
	m.natsRequests.WithLabelValues(request, strconv.Itoa(code)).Inc()
}

func (m *Metrics) ticked(begun time.Time) {
	m.lastTick.Set(float64(begun.UnixMilli()) / 1000)
	m.tickSeconds.Observe(time.Since(begun).Seconds())
}

func (m *Metrics) snapshotBuilt(size int, begun time.Time) {
	m.snapshotBytes.Set(float64(size))
	m.snapshotSeconds.Observe(time.Since(begun).Seconds())
}

func (m *Metrics) stateWritten(size int64, seq uint64, begun time.Time) {
	m.stateBytes.Set(float64(size))
	m.stateSeq.Set(float64(seq))
	m.stateSeconds.Observe(time.Since(begun).Seconds())
}
