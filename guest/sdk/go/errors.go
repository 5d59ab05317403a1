package bylaw

import "fmt"

// CallError is an answer of the agent that says no.
type CallError struct {
	// Method is the method that was called, for example "GetKey".
	Method string
	// Status is the HTTP status.
	Status int
	// Code is stable and made for programs; empty when the agent sent none.
	Code string
	// Message is the agent's sentence.
	Message string
}

// Error returns the agent's sentence with its code.
func (e *CallError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s: %s (status %d)", e.Method, e.Message, e.Status)
	}
	return fmt.Sprintf("%s: %s (status %d, code %s)", e.Method, e.Message, e.Status, e.Code)
}

// AnswerError is an answer that is not what the method must return.
type AnswerError struct {
	// Method is the method that was called.
	Method string
	// Reason says what is wrong, naming the field where one is at fault.
	Reason string
}

// Error says what is wrong with the answer.
func (e *AnswerError) Error() string {
	return fmt.Sprintf("%s: the agent's answer is unusable: %s", e.Method, e.Reason)
}

// Rule names the rule that evidence, a certificate or a chain of keys breaks.
type Rule string

// The rules, as all SDKs spell them.
const (
	RuleReportData  Rule = "report_data_mismatch"
	RuleTCBStatus   Rule = "tcb_status"
	RuleDebug       Rule = "debug"
	RuleEventLog    Rule = "event_log"
	RuleAppID       Rule = "app_id"
	RuleComposeHash Rule = "compose_hash"
	RuleDevice      Rule = "device_id"
	RuleChain       Rule = "chain"
	RuleQuote       Rule = "quote"
	RuleCollateral  Rule = "collateral"
	RuleEncoding    Rule = "encoding"
	RulePlatform    Rule = "unsupported_platform"
	RuleMeasurement Rule = "measurement"
	RuleKeyProvider Rule = "key_provider"
	RuleSignature   Rule = "signature"
	RuleTimestamp   Rule = "timestamp"
	RuleRoot        Rule = "root"
	RuleExpectation Rule = "expectation"
)

// VerifyError is a verdict: what was to be believed is not believable.
type VerifyError struct {
	// Code is the rule that failed.
	Code Rule
	// Reason says what was wrong.
	Reason string
	// Err is the cause, where there is one.
	Err error
}

// Error gives the rule and the reason.
func (e *VerifyError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s: %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %v", e.Code, e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *VerifyError) Unwrap() error { return e.Err }

// Refuse makes a [VerifyError] without a cause.
func Refuse(rule Rule, format string, values ...any) *VerifyError {
	return &VerifyError{Code: rule, Reason: fmt.Sprintf(format, values...)}
}

// Because makes a [VerifyError] with a cause.
func Because(rule Rule, err error, format string, values ...any) *VerifyError {
	return &VerifyError{Code: rule, Reason: fmt.Sprintf(format, values...), Err: err}
}
