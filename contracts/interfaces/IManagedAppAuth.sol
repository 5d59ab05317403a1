// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "./IAppAuth.sol";
import {IAppManagement} from "./IAppManagement.sol";
import {IAppPolicy} from "./IAppPolicy.sol";
import {IAppReading} from "./IAppReading.sol";
import {IOwnedProxy} from "./IOwnedProxy.sol";

/// @title Everything an {AppAuth} answers
interface IManagedAppAuth is IAppAuth, IAppPolicy, IAppReading, IAppManagement, IOwnedProxy {}
