// How a VM is, in a word; what went wrong, and what to do about it.

const DONE = /^(done|ready|system ready|boot(ing)? done)\b/i;

/// `{tone, word, detail}` of a VM: tone is `good`, `wait`, `bad` or `off`.
export function condition(vm) {
  switch (vm.status) {
    case 'running':
      if (vm.boot_error) return { tone: 'bad', word: 'Boot failed', detail: vm.boot_error };
      if (vm.shutdown_progress) return { tone: 'wait', word: 'Shutting down', detail: vm.shutdown_progress };
      if (DONE.test(vm.boot_progress)) return { tone: 'good', word: 'Running', detail: '' };
      return { tone: 'wait', word: 'Booting', detail: vm.boot_progress || 'waiting for the guest' };
    case 'exited': return { tone: 'bad', word: 'Exited', detail: vm.boot_error || 'QEMU ended by itself' };
    case 'stopping': return { tone: 'wait', word: 'Stopping', detail: vm.shutdown_progress };
    case 'removing': return { tone: 'wait', word: 'Removing', detail: '' };
    case 'stopped': return { tone: 'off', word: 'Stopped', detail: vm.boot_error ? `last boot failed: ${vm.boot_error}` : '' };
    default: return { tone: 'off', word: String(vm.status || 'Unknown'), detail: '' };
  }
}

/// Whether anything of it runs.
export const isUp = (vm) => vm.status === 'running' || vm.status === 'stopping';

/// Whether its resources may change.
export const isDown = (vm) => vm.status === 'stopped' || vm.status === 'exited';

// What the guest says, by what it is about. The first that fits is shown.
const CAUSES = [
  [/\bqemu\b/i, 'QEMU does not start',
    'This is on the host\u2019s side: check the image (bylaw image verify), free memory, ports and devices (bylaw doctor). The stderr log holds what QEMU said.'],
  [/not allow|denied|compose_not_allowed|retired|paused|not registered/i, 'The contract refuses this app',
    'See Governance on this page for the rule. Whoever governs the app proposes the compose hash (bylaw gov), or upgrade back to an allowed compose file.'],
  [/os.?image|image hash|mrtd|rtmr|measurement/i, 'The measurements are not allowed',
    'Check that the image of this VM is the one the contract lists; compare with bylaw image measure.'],
  [/sealing enclave/i, 'This machine\u2019s key provider gives no key',
    'See that bylaw-key-provider runs on this machine and listens where [key_provider] of vmm.toml says.'],
  [/kms|key provider|get.?app.?key|no keys/i, 'The guest gets no keys',
    'Check that a KMS URL under Configuration answers from the guest\u2019s network, and that its certificate is valid.'],
  [/data disk was shrunk/i, 'The disk has become smaller',
    'Give it back the size it had: the data is still there unless what lay in the missing part was overwritten.'],
  [/luks|cryptsetup|data disk|mount|storage|no space/i, 'The disk cannot be used',
    'A disk opens only for the app and instance that made it. See the serial log; growing a full disk needs a stop and a resize.'],
  [/encrypted.?env|environment|decrypt/i, 'The environment cannot be opened',
    'It was encrypted for another app or with another key: enter it again under Upgrade.'],
  [/pull|registry|manifest unknown|no such image|toomanyrequests/i, 'A container image does not come',
    'Check its name and digest, and that the guest reaches the registry.'],
  [/compose|container|docker/i, 'The containers do not start', 'See the serial log for what docker compose says.'],
  [/dhcp|network|resolve|unreachable|timed? ?out/i, 'The guest has no network', 'Check the networking of this VM and of the host.'],
  [/host-shared|unknown field|app-compose|sys-config/i, 'The files from the host are not accepted',
    'They were changed or made by another version: upgrade the VM with its compose file once, which writes them again.'],
  [/clock|time sync|ntp/i, 'The guest cannot tell the time', 'Check that it reaches a time server, or set secure_time to false and accept what that means.'],
];

/// What is wrong with a VM: `{title, said, todo}`, or null where nothing is.
export function trouble(vm) {
  const said = vm.boot_error || '';
  if (vm.status === 'exited' && said === '') {
    return {
      title: 'QEMU ended by itself',
      said: vm.exited_at && vm.exited_at !== 'never' ? `It ended ${vm.exited_at} ago. The VMM starts it again by itself where auto-restart is on.` : '',
      todo: 'Read the stderr log: it holds QEMU\u2019s own message. Then the serial log, for the guest\u2019s last words.',
    };
  }
  if (said === '') return null;
  const cause = CAUSES.find(([pattern]) => pattern.test(said));
  return {
    title: cause ? cause[1] : 'The guest could not boot',
    said,
    todo: cause ? cause[2] : 'Read the serial log from its end.',
  };
}

// What the VMM refuses, and the way out.
const HINTS = [
  [/should be stopped/i, 'Shut it down first; its resources can change only while it is off.'],
  [/shrink/i, 'A disk only grows. To have a smaller one, create another VM.'],
  [/port.*(use|conflict|taken|duplicate|already)/i, 'Choose another host port.'],
  [/port mapping|port_mapping/i, 'Ports need cvm.port_mapping in vmm.toml, and a range that holds them.'],
  [/kms is not configured/i, 'Set kms_url in vmm.toml, or use an environment file encrypted elsewhere.'],
  [/tee_simulator|simulat/i, 'The software TEE needs cvm.tee_simulator in vmm.toml.'],
  [/registry/i, 'Set image.registry in vmm.toml, or copy an image folder below image.path.'],
  [/gpu/i, 'See Node for the devices this host lends.'],
  [/in use|used by/i, 'Remove or move the VMs that use it first.'],
];

/// What to do about a refusal; empty where nothing is known.
export function hint(message) {
  const found = HINTS.find(([pattern]) => pattern.test(message));
  return found ? found[1] : '';
}
