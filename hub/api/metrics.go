package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the interface's. Labels are of a fixed set: the patterns of
// routes, methods, statuses.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  prometheus.Counter
	panics   prometheus.Counter

	tokensRevoked      *prometheus.CounterVec
	tokensIntrospected *prometheus.CounterVec
	eventsTaken        *prometheus.CounterVec
}

// newMetrics registers the metrics; with nil they count for nobody.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_http_requests_total", Help: "Requests answered; streams when they end, or go on without their request."}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "revocast_http_request_duration_seconds", Help: "Time to answer a request, streams apart.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 12)}, []string{"route", "method"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "revocast_http_credentials_refused_total", Help: "Requests with a wrong credential."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "revocast_http_panics_total", Help: "Requests that a bug ended."}),
		tokensRevoked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_oauth_revocations_total", Help: "Tokens that clients wanted revoked (RFC 7009), by what became of it."}, []string{"outcome"}),
		tokensIntrospected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_oauth_introspections_total", Help: "Tokens introspected (RFC 7662), by the answer."}, []string{"active"}),
		eventsTaken: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "revocast_events_taken_total", Help: "Logout tokens and security events accepted, by what became of it."}, []string{"event", "outcome"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.refused, m.panics, m.tokensRevoked, m.tokensIntrospected, m.eventsTaken)
	}
	return m
}

func (m *metrics) answered(pattern, method string, status int, took time.Duration, stream bool) {
	m.requests.WithLabelValues(pattern, method, strconv.Itoa(status)).Inc()
	if !stream {
		m.seconds.WithLabelValues(pattern, method).Observe(took.Seconds())
	}
}
