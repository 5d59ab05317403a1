// A node for the console's browser test, in the states that need running guests, a chain and a registry:
// booting, running, refused, in trouble. Everything else is tested on a real bylaw-vmm.
import { createDecipheriv, createHash, createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ASSETS = join(dirname(fileURLToPath(import.meta.url)), '../../host/vmm/console');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' };

/// The policy the console's README asks its server for.
export const POLICY = /^Content-Security-Policy: (.*)$/m.exec(readFileSync(join(ASSETS, 'README.md'), 'utf8'))[1];

const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const digest = (name) => `sha256:${sha256(name)}`;

/// A manifest around a docker-compose file.
export const manifest = (name, yaml, more = {}) => JSON.stringify({
  manifest_version: 2, name, runner: 'docker-compose', docker_compose_file: yaml, kms_enabled: true, gateway_enabled: true, local_key_provider_enabled: false,
  key_provider_id: '', public_logs: true, public_sysinfo: true, allowed_envs: ['DATABASE_URL'], no_instance_id: false, secure_time: true, ...more,
}, null, 4);

const ledger = `services:\n  web:\n    image: ghcr.io/example/ledger@${digest('ledger')}\n    ports:\n      - "8080:80"\n    environment:\n      DATABASE_URL: \${DATABASE_URL}\n    depends_on: [db]\n  db:\n    image: postgres@${digest('postgres')}\n    volumes:\n      - data:/var/lib/postgresql/data\nvolumes:\n  data: {}\n`;

function vm(i, name, status, more = {}) {
  const compose = manifest(name, ledger);
  const { configuration = {}, ...rest } = more;
  return {
    id: `${String(i).padStart(8, '0')}-4b1d-4c6e-9a53-1f0e6d2c7b8a`, name, status, uptime: status === 'running' ? '2h 14m' : 'never', app_url: null,
    app_id: sha256(compose).slice(0, 40), instance_id: null, exited_at: 'never', boot_progress: '', boot_error: '', shutdown_progress: '', image_version: '0.6.0', events: [], interfaces: [], running: status === 'running',
    configuration: {
      name, image: 'bylaw-0.6.0', compose_file: compose, vcpu: 2, memory: 4096, disk_size: 20, ports: [], encrypted_env: '', app_id: null, user_config: '', hugepages: false, pin_numa: false,
      gpus: { gpus: [], attach_mode: 'listed' }, kms_urls: [], gateway_urls: [], stopped: false, no_tee: false, networking: null, networks: [], simulated_tee: null, ...configuration,
    },
    ...rest,
  };
}

const STEPS = [
  ['copying the files of the host', 210], ['checking app-compose.json', 40], ['extending the measurements', 380], ['asking for the time', 900], ['asking https://kms.example.com:8000 for keys', 2650],
  ['opening the disk', 4200], ['starting containerd and docker', 3300], ['pulling ghcr.io/example/ledger', 11800], ['starting the containers', 2400], ['done', 0],
];

function steps(until, ago) {
  let at = Date.now() - ago;
  return STEPS.slice(0, until).map(([body, took]) => {
    const event = { event: 'boot.progress', body, timestamp: at };
    at += took;
    return event;
  });
}

function fleet() {
  const instance = sha256('instance').slice(0, 40);
  const failing = steps(5, 95000);
  failing.push({ event: 'boot.error', body: 'the KMS refused: the contract does not allow compose hash 7f3a…c91e of this app', timestamp: Date.now() - 90000 });
  return [
    vm(1, 'ledger', 'running', {
      instance_id: instance, boot_progress: 'done', app_url: `https://${instance}-8090.apps.example.com`, events: steps(10, 8100000), interfaces: [{ mode: 'user', backend: 'slirp', mac: '52:54:00:3a:91:7c', bridge_name: null, netdev_id: 'net0' }],
      configuration: { ports: [{ protocol: 'tcp', host_port: 18080, vm_port: 80, host_address: '127.0.0.1' }] },
    }),
    vm(2, 'search-index', 'running', { uptime: '9s', boot_progress: STEPS[5][0], events: steps(6, 6000), configuration: { vcpu: 4, memory: 8192 } }),
    vm(3, 'payments', 'running', { uptime: '1m 35s', boot_progress: 'asking for keys', boot_error: failing[5].body, events: failing, configuration: { no_tee: true, simulated_tee: 'tdx' } }),
    vm(4, 'inference', 'exited', { exited_at: '3m 12s', configuration: { vcpu: 16, memory: 65536, disk_size: 500, gpus: { attach_mode: 'listed', gpus: [{ slot: '41:00.0' }] } } }),
    vm(5, 'nightly-report', 'stopped', { exited_at: '6h 2m' }),
    vm(6, '<b>not bold</b> \u202egnp.exe', 'stopped'),
  ];
}

const HOSTILE_LOG = '\u001b[31m<script>window.ran=1</script>\u001b[0m red';

/// Starts a node; `state` may be changed while it runs.
export async function startNode() {
  const kms = generateKeyPairSync('x25519');
  const state = {
    vms: fleet(), images: [{ name: 'bylaw-0.6.0', description: '{}', version: '0.6.0', is_dev: false }, { name: 'bylaw-dev-0.6.0', description: '{}', version: '0.6.0', is_dev: true }],
    gpus: [{ slot: '41:00.0', product_id: '10de:2335', description: 'NVIDIA H200 SXM 141GB', is_free: false }, { slot: '61:00.0', product_id: '10de:2335', description: 'NVIDIA H200 SXM 141GB', is_free: true }],
    registry: [{ tag: 'bylaw-0.6.0', local: true, pulling: false, error: '' }, { tag: 'bylaw-0.7.0', local: false, pulling: false, error: '' }, { tag: 'bylaw-nvidia-0.6.0', local: false, pulling: false, error: 'layer sha256:41d0… has another digest' }],
    governance: {}, failing: null, refuse: {}, token: null, messages: [], samples: 0, logs: [],
  };
  const byId = (id) => state.vms.find((one) => one.id === id);
  const guests = {
    SysInfo: () => {
      state.samples += 1;
      const wave = Math.sin(state.samples / 3);
      return {
        os_name: 'Debian GNU/Linux', os_version: '13', kernel_version: '6.12', cpu_model: 'x', num_cpus: 2, total_memory: 4 * 2 ** 30, available_memory: 2 ** 31, used_memory: Math.round(2 ** 31 * (1 + wave / 6)), free_memory: 2 ** 30,
        total_swap: 0, used_swap: 0, free_swap: 0, uptime: 8000, loadavg_one: Math.round(70 + 50 * wave), loadavg_five: 60, loadavg_fifteen: 50, disks: [{ name: 'dm-0', mount_point: '/dstack/persistent', total_size: 20 * 2 ** 30, free_size: 13 * 2 ** 30 }],
      };
    },
    ListContainers: () => ({
      containers: [
        { id: sha256('a'), names: ['/ledger-web-1'], image: `ghcr.io/example/ledger@${digest('ledger')}`, image_id: digest('l'), created: 1, state: 'running', status: 'Up 2 hours' },
        { id: sha256('b'), names: ['/ledger-db-1'], image: `postgres@${digest('postgres')}`, image_id: digest('p'), created: 1, state: 'running', status: 'Up 2 hours (healthy)' },
      ],
    }),
  };
  const methods = {
    Status: ({ brief }) => ({ vms: state.vms.map((one) => (brief ? { ...one, configuration: null } : one)), port_mapping_enabled: true, total: state.vms.length }),
    Version: () => ({ version: '0.6.0', rev: '5f2c9e1' }),
    GetMeta: () => ({
      kms: { url: 'https://kms.example.com:8000', urls: ['https://kms.example.com:8000'] }, gateway: { url: '', base_domain: 'apps.example.com', port: 443, agent_port: 8090, urls: ['https://gateway.example.com'] },
      resources: { max_cvm_number: 1000, max_allocable_vcpu: 20, max_allocable_memory_in_mb: 100000 }, networking: { supported_modes: ['user', 'bridge'], default_mode: 'user', default_bridge: 'br0' },
    }),
    ListImages: () => ({ images: state.images }),
    ListGpus: () => ({ gpus: state.gpus, allow_attach_all: true }),
    ListRegistryImages: () => ({ images: state.registry }),
    PullRegistryImage: ({ tag }) => {
      const one = state.registry.find((image) => image.tag === tag);
      Object.assign(one, { pulling: true, error: '' });
      setTimeout(() => { Object.assign(one, { pulling: false, local: true }); state.images.push({ name: tag, description: '{}', version: '0.7.0', is_dev: false }); }, 1200);
      return null;
    },
    GetComposeHash: ({ compose_file: text }) => { JSON.parse(text); return { hash: sha256(text) }; },
    GetAppEnvEncryptPubKey: () => ({ public_key: kms.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex'), signature: '', timestamp: 0, signature_v1: '' }),
    CreateVm: (asked) => { const made = vm(state.vms.length + 1, asked.name, asked.stopped ? 'stopped' : 'running', { configuration: asked }); state.vms.push(made); return { id: made.id }; },
    UpgradeApp: (asked) => { Object.assign(byId(asked.id).configuration, asked.compose_file ? { compose_file: asked.compose_file } : {}); return { id: '' }; },
    StartVm: ({ id }) => { Object.assign(byId(id), { status: 'running', boot_error: '' }); return null; },
    StopVm: ({ id }) => { byId(id).status = 'stopped'; return null; },
    SvList: () => ({ processes: state.vms.filter((one) => one.running).map((one) => ({ id: one.id, name: one.name, status: 'running', pid: 4711, command: 'qemu-system-x86_64', note: '' })) }),
  };

  const answer = (response, status, value) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  const http = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    response.setHeader('Content-Security-Policy', POLICY);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('Cache-Control', 'no-store');
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : {};
    const [, mount, name] = url.pathname.split('/');
    if (mount === 'res' || url.pathname === '/') {
      const file = mount === 'res' ? name : 'index.html';
      if (!existsSync(join(ASSETS, file)) || !TYPES[extname(file)]) { response.writeHead(404); response.end(); return; }
      response.writeHead(200, { 'Content-Type': TYPES[extname(file)] });
      response.end(readFileSync(join(ASSETS, file), 'utf8').replaceAll('{{node_name}}', 'rack-7'));
      return;
    }
    if (state.token && request.headers.authorization !== `Bearer ${state.token}`) { response.writeHead(401); response.end(); return; }
    if (state.failing) { request.socket.destroy(); return; }
    if (mount === 'governance') {
      const said = state.governance[url.searchParams.get('id')];
      answer(response, said ? 200 : 404, said || { error: 'no chain' });
    } else if (mount === 'logs') {
      response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
      const channel = url.searchParams.get('ch');
      response.write(channel === 'serial' ? `${Array.from({ length: 120 }, (_, i) => `[${(i / 10).toFixed(6).padStart(12)}] ${['virtio_blk virtio2: 40960 512-byte logical blocks', 'device-mapper: verity: sha256 using implementation "sha256-avx2"', 'bylaw-boot: keys received', 'docker compose: web started'][i % 4]}`).join('\n')}\n${HOSTILE_LOG}\n[vmm heartbeat]\n` : '');
      state.logs.push((text) => response.write(text));
    } else if (mount === 'guest') {
      if (body.id !== state.vms[0].id) answer(response, 400, { error: 'the guest agent does not answer: connection refused' });
      else answer(response, 200, guests[name]());
    } else if (mount === 'prpc') {
      if (!['Status', 'Version', 'GetMeta'].includes(name)) state.messages.push([name, body]);
      if (state.refuse[name]) answer(response, 400, { error: state.refuse[name] });
      else if (!methods[name]) answer(response, 400, { error: `Service not found: ${name}` });
      else {
        try {
          answer(response, 200, methods[name](body));
        } catch (error) {
          answer(response, 400, { error: error.message });
        }
      }
    } else answer(response, 404, {});
  });
  await new Promise((done) => { http.listen(0, '127.0.0.1', done); });

  // What the guest would read of an encrypted environment.
  const decrypt = (hex) => {
    const bytes = Buffer.from(hex, 'hex');
    const theirs = createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), bytes.subarray(0, 32)]), format: 'der', type: 'spki' });
    const secret = diffieHellman({ privateKey: kms.privateKey, publicKey: theirs });
    const cipher = createDecipheriv('aes-256-gcm', secret, bytes.subarray(32, 44));
    cipher.setAuthTag(bytes.subarray(-16));
    return JSON.parse(Buffer.concat([cipher.update(bytes.subarray(44, -16)), cipher.final()]).toString());
  };
  return {
    state, decrypt, url: `http://127.0.0.1:${http.address().port}/`, sha256,
    stop: () => new Promise((done) => { http.close(done); http.closeAllConnections(); }),
  };
}
