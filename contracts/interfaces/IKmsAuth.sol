// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppPolicy} from "./IAppPolicy.sol";
import {IKmsManagement} from "./IKmsManagement.sol";
import {IKmsReading} from "./IKmsReading.sol";
import {IOwnedProxy} from "./IOwnedProxy.sol";

/// @title The policy of one KMS
/// @notice States which builds of the KMS may hold the root key, which guest OS images are trusted, and which
/// apps exist. It answers for an app only after its own rules passed, and then asks the app's contract.
interface IKmsAuth is IKmsReading, IAppPolicy, IKmsManagement, IOwnedProxy {}
