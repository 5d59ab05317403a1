/** Accounts for viem (an optional peer dependency). */

import type { PrivateKeyAccount } from 'viem/accounts';
import { privateKeyToAccount } from 'viem/accounts';
import { type AccountKey, type EthereumAccount, ethereumAccount, ethereumAccountSecure } from './accounts.js';
import { toHex } from './bytes.js';

/** The viem account of a key; see `ethereumAccount`. */
export function toViemAccount(key: AccountKey): PrivateKeyAccount {
  return account(ethereumAccount(key));
}

/** As {@link toViemAccount}, but of a TLS key SHA-256 of the whole DER is used. */
export function toViemAccountSecure(key: AccountKey): PrivateKeyAccount {
  return account(ethereumAccountSecure(key));
}

function account(own: EthereumAccount): PrivateKeyAccount {
  return privateKeyToAccount(`0x${toHex(own.secretKey)}`);
}
