package bylaw

import (
	"context"
	"encoding/json"

	"github.com/bylaw/bylaw/guest/sdk/go/eventlog"
)

// Info is what the agent says about the app. It is a statement of the agent inside the VM;
// somebody outside should verify evidence instead (package attest).
type Info struct {
	AppID      []byte
	InstanceID []byte
	AppName    string
	// AppCert is a PEM chain.
	AppCert string
	// TCBInfo is nil when the app keeps it private.
	TCBInfo      *TCBInfo
	DeviceID     []byte
	MRAggregated []byte
	OSImageHash  []byte
	ComposeHash  []byte
	// KeyProviderInfo is JSON text.
	KeyProviderInfo string
	// VMConfig is JSON text; empty when the app keeps it private.
	VMConfig     string
	CloudVendor  string
	CloudProduct string
}

// TCBInfo is what was measured, as the guest states it.
type TCBInfo struct {
	// MRTD and RTMRs are hex; empty off TDX.
	MRTD         string
	RTMRs        [4]string
	MRAggregated string
	OSImageHash  string
	ComposeHash  string
	DeviceID     string
	EventLog     []eventlog.Event
	// AppCompose is the raw text of app-compose.json.
	AppCompose string
}

// Info asks for facts about the app.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	const method = "Info"
	content, err := c.call(ctx, method, struct{}{})
	if err != nil {
		return nil, err
	}
	read := readFields(method, content)
	info := &Info{
		AppID:           read.bytes("app_id"),
		InstanceID:      read.bytes("instance_id"),
		AppName:         read.text("app_name"),
		AppCert:         read.text("app_cert"),
		DeviceID:        read.bytes("device_id"),
		MRAggregated:    read.bytes("mr_aggregated"),
		OSImageHash:     read.bytes("os_image_hash"),
		ComposeHash:     read.bytes("compose_hash"),
		KeyProviderInfo: read.text("key_provider_info"),
		VMConfig:        read.text("vm_config"),
		CloudVendor:     read.text("cloud_vendor"),
		CloudProduct:    read.text("cloud_product"),
	}
	text := read.text("tcb_info")
	if read.err != nil {
		return nil, read.err
	}
	if text != "" {
		if info.TCBInfo, err = readTCBInfo(method, text); err != nil {
			return nil, err
		}
	}
	return info, nil
}

func readTCBInfo(method, text string) (*TCBInfo, error) {
	read := &fields{method: method, prefix: "tcb_info."}
	if err := json.Unmarshal([]byte(text), &read.values); err != nil || read.values == nil {
		read.fail("field `tcb_info` is not the text of a JSON object")
	}
	info := &TCBInfo{
		MRTD:         read.textOrNull("mrtd"),
		MRAggregated: read.text("mr_aggregated"),
		OSImageHash:  read.text("os_image_hash"),
		ComposeHash:  read.text("compose_hash"),
		DeviceID:     read.text("device_id"),
		AppCompose:   read.text("app_compose"),
	}
	for index, name := range [...]string{"rtmr0", "rtmr1", "rtmr2", "rtmr3"} {
		info.RTMRs[index] = read.textOrNull(name)
	}
	var log json.RawMessage
	if read.read("event_log", "a list of events", &log) {
		events, err := eventlog.Parse(log)
		if err != nil {
			read.fail("field `tcb_info.event_log`: %v", err)
		}
		info.EventLog = events
	}
	if read.err != nil {
		return nil, read.err
	}
	return info, nil
}
